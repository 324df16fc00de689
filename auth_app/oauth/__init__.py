"""The OAuth 2.0 and OpenID Connect endpoints, one module each, and the tokens that they issue."""
