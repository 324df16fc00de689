"""Signals for accepted and refused tokens, to which metrics and audit logs can connect.

The sender is the application. `token_accepted` has `claims`, a `VerifiedClaims`. `token_refused` has
`reason`: the label of a check (tokens/checks.py), or missing, form, revoked, scope, claims_check,
undetermined, invalid. The last is a good token of the wrong kind, such as where a view requires a refresh
token. Neither signal has the token itself.
"""

from blinker import Namespace

_namespace = Namespace()

token_accepted = _namespace.signal("token-accepted")
token_refused = _namespace.signal("token-refused")
