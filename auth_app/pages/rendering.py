"""Render pages, with a strict Content-Security-Policy and the operator's texts, name, logo and colour."""

import mimetypes
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.local import LocalProxy

from auth_app.current import current_settings
from auth_app.pages.browsers import form_token, keep_browser
from auth_app.pages.texts import read_texts
from auth_app.settings import AuthSettings
from flask_resource_server.exceptions import ConfigurationError

blueprint = Blueprint(
    "pages", __name__, template_folder="templates", static_folder="static", static_url_path="/pages/static"
)

_LOGO_TYPES = {"image/png", "image/svg+xml", "image/jpeg", "image/webp"}
_STATIC_AGE = {"Cache-Control": "public, max-age=300"}


def init_app(app: Flask, settings: AuthSettings) -> None:
    """Set up the pages of `app`. Raises `ConfigurationError` for a bad texts file or logo."""
    app.extensions["page_texts"] = read_texts(settings.page_texts_file)
    if settings.brand_logo:
        _read_logo(settings.brand_logo)
    app.register_blueprint(blueprint)
    app.add_template_filter(_format_moment, "moment")


@blueprint.get("/pages/brand.css")
def show_brand() -> Response:
    """Return a stylesheet with the operator's colour, and a readable text colour on it (WCAG 2.2, 1.4.3)."""
    colour = current_settings().brand_colour
    css = f":root {{ --brand: {colour}; --on-brand: {_choose_text(colour)}; }}\n"
    return Response(css, mimetype="text/css", headers=_STATIC_AGE)


@blueprint.get("/pages/logo")
def show_logo() -> Response:
    """Return the operator's logo."""
    path = current_settings().brand_logo
    if path is None:
        raise NotFound
    data, mimetype = _read_logo(path)
    return Response(data, mimetype=mimetype, headers=_STATIC_AGE)


def render_page(
    template: str,
    status: int = 200,
    *,
    form_targets: Iterable[str] = (),
    scripts: str = "'none'",
    **values: Any,
) -> Response:
    """Return a page rendered from a template, with its security headers and the browser cookie.

    `form_targets` are the CSP sources, beside our own, to which a form of the page may redirect: browsers
    apply `form-action` to redirects after a form, too. `values` are variables of the template.
    """
    settings, texts = current_settings(), current_app.extensions["page_texts"]
    html = render_template(
        f"pages/{template}",
        texts=texts,
        brand=settings.brand_name,
        logo=url_for("pages.show_logo") if settings.brand_logo else None,
        form_token=LocalProxy(form_token),  # lazy, because an error page must not need the database
        **values,
    )
    response = Response(html, status, mimetype="text/html")
    keep_browser(response)
    targets = " ".join(["'self'", *form_targets])
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'self'; img-src 'self'; script-src {scripts}; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def show_errors_as_pages(pages: Blueprint) -> None:
    """Replace the JSON errors of a blueprint by HTML error pages."""

    @pages.after_request
    def show(response: Response) -> Response:
        if response.status_code >= 400 and response.is_json:
            response = _make_error_page(response)
        # An application may have opened a pop-up for this, and waits for it to return. A single redirect
        # with another policy would cut the connection between the two windows.
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        return response


def _make_error_page(error: Response) -> Response:
    description = str((error.get_json() or {}).get("error_description", ""))
    page = render_page("error.html", error.status_code, description=description)
    for name in ("Retry-After", "Allow"):
        if name in error.headers:
            page.headers[name] = error.headers[name]
    return page


def format_text(name: str, **values: object) -> str:
    """Return the text with a name, with `values` inserted for its placeholders in braces."""
    text: str = current_app.extensions["page_texts"][name]
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def own_path(path: str) -> str:
    """Return a path of this server with the path prefix of a reverse proxy."""
    return f"{request.script_root}{path}"


def _format_moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _read_logo(path: Path) -> tuple[bytes, str]:
    mimetype = mimetypes.guess_type(path.name)[0]
    if mimetype not in _LOGO_TYPES:
        raise ConfigurationError(f"BRAND_LOGO: {path} is not a .png, .svg, .jpg or .webp file")
    try:
        return path.read_bytes(), mimetype
    except OSError as error:
        raise ConfigurationError(f"BRAND_LOGO: {path} cannot be read: {error.strerror}") from None


def _choose_text(colour: str) -> str:
    """Return black or white, whichever has more contrast on a colour (WCAG 2.2, relative luminance)."""
    channels = (int(part, 16) / 255 for part in re.findall("..", colour[1:]))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
