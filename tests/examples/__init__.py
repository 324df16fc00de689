"""The programs in examples/, against a running pair of services. tests/docs runs what their READMEs say."""
