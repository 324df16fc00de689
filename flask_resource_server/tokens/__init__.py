"""Verify access tokens, with any web framework or none.

verifier = Verifier.trusting(Issuer("https://auth.example.com"), resource="https://reports.example.com")
claims = verifier.verify(token)
"""

from flask_resource_server.exceptions import ConfigurationError, Undetermined
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.issuers import Issuer, TrustedIssuer
from flask_resource_server.tokens.profiles import PROFILES, Profile
from flask_resource_server.tokens.verifier import RefusedToken, Verifier

__all__ = [
    "PROFILES",
    "ConfigurationError",
    "Issuer",
    "Profile",
    "RefusedToken",
    "TrustedIssuer",
    "Undetermined",
    "VerifiedClaims",
    "Verifier",
]
