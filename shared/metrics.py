"""Serve metrics for Prometheus at `/metrics`; every worker of gunicorn reports the totals of all workers.

The workers share their counts through files (gunicorn.conf.py). Under other servers each process reports its
own counts.
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

# Functions that return an age in seconds, or None if it is not known, by the metric's name and description.
Ages = Mapping[tuple[str, str], Callable[[], float | None]]

_REQUESTS = Histogram(
    "http_request_duration_seconds", "Durations of requests.", ["method", "route", "status"]
)
_REFUSALS = Counter(
    "token_refusals_total", "Requests refused because of their token, or for lack of one.", ["reason"]
)
_UNKNOWN_KIDS = Counter("unknown_kids_total", "Tokens whose kid is not known.")

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class _AgeCollector(Collector):
    """Reports ages at the time of the request. They need no sharing: they are the same in every worker."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for (name, meaning), read in self._ages.items():
            if (age := read()) is not None:
                yield GaugeMetricFamily(name, meaning, age)


def init_app(app: Flask, settings: Settings, ages: Ages) -> None:
    """Count the requests of `app` and serve `/metrics`, unless the settings turn that off.

    With `metrics_port`, `/metrics` is served only on that port, on which gunicorn must listen as well.
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
    except ValueError:  # PROMETHEUS_MULTIPROC_DIR is not set: this process counts for itself
        return REGISTRY
    return registry


def _count_refusal(_app: Flask, reason: str) -> None:
    _REFUSALS.labels(reason).inc()
    if reason == "kid":
        _UNKNOWN_KIDS.inc()


def _count_requests(app: Flask) -> None:
    """Count in WSGI middleware: that costs less, and the time includes `before_request` functions."""
    inner = app.wsgi_app

    def count(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            rule = environ["werkzeug.request"].url_rule
            # Labels have few values: a client that could make up new ones could fill the memory.
            route = rule.rule if rule else "none"
            method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in _METHODS else "other"
            _histogram(method, route, status[:3]).observe(time.perf_counter() - started)
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    app.wsgi_app = count  # type: ignore[method-assign]


@cache
def _histogram(method: str, route: str, status: str) -> Histogram:
    return _REQUESTS.labels(method, route, status)
