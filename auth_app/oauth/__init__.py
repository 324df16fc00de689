"""OAuth 2.0 and OpenID Connect: a module for each endpoint, and the tokens that they issue."""
