"""The database tables of the authorization server, as SQLAlchemy models."""

from auth_app.models.clients import FIRST_PARTY, Client, ClientAssertion, LogoutNotice
from auth_app.models.sessions import AuthorizationCode, BrowserSession, RevocationJob, Session, StatusList
from auth_app.models.users import KnownAddress, LoginFailure, User

__all__ = [
    "FIRST_PARTY",
    "AuthorizationCode",
    "BrowserSession",
    "Client",
    "ClientAssertion",
    "KnownAddress",
    "LoginFailure",
    "LogoutNotice",
    "RevocationJob",
    "Session",
    "StatusList",
    "User",
]
