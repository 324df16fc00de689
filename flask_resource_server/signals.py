"""Signals that announce what became of tokens: connect metrics, audit logs and alarms to them.

The sender is the application. `token_accepted` has `claims`, a `VerifiedClaims`. `token_refused` has
`reason`: the label of a check (tokens/checks.py), or missing, form, revoked, scope, claims_check,
undetermined, invalid. The last is a good token of the wrong kind, as where a view asks flask-jwt-extended for
a refresh token. Neither has the token.
"""

from blinker import Namespace

_namespace = Namespace()

token_accepted = _namespace.signal("token-accepted")
token_refused = _namespace.signal("token-refused")
