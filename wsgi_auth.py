"""The WSGI entry point of the authorization server: `gunicorn wsgi_auth:app`."""

from auth_app import create_app

app = create_app()
