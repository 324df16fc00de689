"""The WSGI entry point of the authorization server: `gunicorn wsgi_auth:app`."""

import gc

# Modules live as long as the process, so do not look for garbage among them: that took a fifth of the time of
# a command. The application is not excluded: a last collection at the exit closes its database connections.
gc.disable()

from auth_app import create_app  # noqa: E402

gc.freeze()
gc.enable()
app = create_app()
