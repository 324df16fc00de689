"""django-oauth-toolkit: password, refresh_token and client_credentials; tokens in SQLite.

In its best form: no middleware or session, one connection for each thread, WAL. Its access tokens are random
strings: nothing is signed, and a service has to look each token up at this server (RFC 7662).
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path

DATABASE = Path("django.db").absolute()
APPS = ["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"]


class OurHasher(Argon2PasswordHasher):
    """argon2id with our parameters."""

    time_cost = int(os.environ["BENCH_ARGON2_PASSES"])
    memory_cost = int(os.environ["BENCH_ARGON2_MEMORY"])
    parallelism = 1


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY=os.urandom(32).hex(),
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=APPS,
    MIGRATION_MODULES={app.rpartition(".")[2]: None for app in APPS},  # tables are made from the models
    PASSWORD_HASHERS=[f"{__name__}.OurHasher"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            },
        }
    },
    OAUTH2_PROVIDER={"SCOPES": {"courses:read": "Read courses"}, "ACCESS_TOKEN_EXPIRE_SECONDS": 900},
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - models can be loaded only now
from django.db import connections  # noqa: E402
from oauth2_provider.models import Application  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402

urlpatterns = [path("token", TokenView.as_view())]


def add_demo_data() -> None:
    """Register two clients, as an application has one grant type here, and a user.

    The secret of a client is not hashed: with a hash for passwords, as is the default, each request would
    cost as much as a login.
    """
    user = User.objects.create_user("student1", password="password123")  # noqa: S106
    for suffix, grant in (
        ("", Application.GRANT_CLIENT_CREDENTIALS),
        ("-password", Application.GRANT_PASSWORD),
    ):
        Application.objects.create(
            client_id=os.environ["BENCH_CLIENT_ID"] + suffix,
            client_secret=os.environ["BENCH_CLIENT_SECRET"],
            hash_client_secret=False,
            user=user,
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=grant,
        )


if not DATABASE.exists():
    call_command("migrate", run_syncdb=True, verbosity=0)
    add_demo_data()
connections.close_all()  # workers must not inherit them
app = get_wsgi_application()
