"""Tests with several hosts, simulated by network namespaces."""
