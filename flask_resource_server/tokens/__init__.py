"""Verify access tokens: keys, checks, status lists. Knows no web framework."""
