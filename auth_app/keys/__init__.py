"""The keys that sign: load, rotate and revoke them."""
