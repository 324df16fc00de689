"""The programs in examples/, run as their READMEs tell, against a running pair of services."""
