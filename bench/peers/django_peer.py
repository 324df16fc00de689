"""Django with REST framework and Simple JWT: a view without users or a database."""
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

from bench.answer import ANSWER
from bench.peers.keys import AUDIENCE, ISSUER, PEM

settings.configure(
    SECRET_KEY="signs nothing here",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    MIDDLEWARE=[],
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication"
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={
        "ALGORITHM": "RS256",
        "SIGNING_KEY": "",
        "VERIFYING_KEY": PEM,  # which it parses once
        "AUDIENCE": AUDIENCE,
        "ISSUER": ISSUER,
        "USER_ID_CLAIM": "sub",
        "TOKEN_TYPE_CLAIM": None,
    },
)
app = get_wsgi_application()

from rest_framework.decorators import api_view  # noqa: E402 - it reads the settings
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


@api_view(["GET"])
def read(_request: Request) -> Any:
    """Return the page from memory."""
    return Response(ANSWER)


urlpatterns = [path("memory", read)]
