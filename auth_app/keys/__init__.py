"""Signing keys: load, use, rotate and revoke them."""
