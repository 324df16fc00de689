"""Count what happens, for Prometheus to fetch at `/metrics`, alike from whichever worker answers.

Under gunicorn the workers' counts meet in files (gunicorn.conf.py); elsewhere one process counts for itself.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from flask import Flask, Response, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.exceptions import NotFound

from flask_resource_server.signals import token_refused
from shared.settings import Settings

# By name and meaning; None where there is nothing to tell.
Ages = Mapping[tuple[str, str], Callable[[], float | None]]

_REQUESTS = Histogram(
    "http_request_duration_seconds", "Requests, by how long they took.", ["method", "route", "status"]
)
_REFUSALS = Counter("token_refusals_total", "Requests without a token that is accepted.", ["reason"])
_UNKNOWN_KIDS = Counter("unknown_kids_total", "Tokens that named a key that is not known.")

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class _AgeCollector(Collector):
    """Looks at ages when it is asked: they are the same in every worker."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for (name, meaning), read in self._ages.items():
            if (age := read()) is not None:
                yield GaugeMetricFamily(name, meaning, age)


def init_app(app: Flask, settings: Settings, ages: Ages) -> None:
    """Count the requests of `app` and serve `/metrics`, unless the settings turn that off.

    With `metrics_port` it is served at that port only, which gunicorn must listen to as well.
    """
    if settings.metrics == "off":
        return

    def show_metrics() -> Response:
        if settings.metrics_port and request.environ["SERVER_PORT"] != str(settings.metrics_port):
            raise NotFound
        registry = CollectorRegistry()
        registry.register(_AgeCollector(ages))
        counts = generate_latest(_registry_of_all_workers())
        return Response(counts + generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    token_refused.connect(_count_refusal, app)
    app.add_url_rule("/metrics", view_func=show_metrics)
    _count_requests(app)


def _registry_of_all_workers() -> CollectorRegistry:
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # there is one process
        return REGISTRY
    return registry


def _count_refusal(_app: Flask, reason: str) -> None:
    _REFUSALS.labels(reason).inc()
    if reason == "kid":
        _UNKNOWN_KIDS.inc()


def _count_requests(app: Flask) -> None:
    """Count below Flask, where it costs less, and what the application's own functions take is included."""
    inner = app.wsgi_app

    def count(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            rule = environ["werkzeug.request"].url_rule
            # What a client makes up is not told apart, or it could fill the memory.
            route = rule.rule if rule else "none"
            method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in _METHODS else "other"
            _histogram(method, route, status[:3]).observe(time.perf_counter() - started)
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    app.wsgi_app = count  # type: ignore[method-assign]


@cache
def _histogram(method: str, route: str, status: str) -> Histogram:
    return _REQUESTS.labels(method, route, status)
