"""Benchmarks, run by hand: throughput, latency, memory, and the cost of attacks."""
