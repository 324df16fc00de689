"""Protect a Flask application with the access tokens of an OAuth 2.0 authorization server."""
