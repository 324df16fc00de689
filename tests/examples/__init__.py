"""The programs in examples/, run as their READMEs say, against a running pair of services."""
