"""Third-party OpenID Connect clients, unchanged, sign users in at a running auth_app."""
