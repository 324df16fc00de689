"""Tests across hosts: network namespaces of this one."""
