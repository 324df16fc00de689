"""Tests in layers: unit, processes, integrations, examples, clients, browser, fuzz, hosts."""
