"""Clients of other people, unchanged, sign people in at a running auth_app."""
