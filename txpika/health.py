# -*- test-case-name: txpika.test.test_health -*-
"""
What a consumer's process says over HTTP: whether it is well, and its metrics.

Owns two pages and nothing else. Knows what it reports as functions to call.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

#: What L{health_site} is given: whether all is well, and the page.
Health = Callable[[], tuple[bool, dict[str, object]]]

NO_METRICS = "There are no metrics: install prometheus-client, as pip install 'txpika[prometheus]' does.\n"


class _Quiet(Site):
    """Logs no request: probes come every few seconds."""

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        pass


class _Pages(Resource):
    isLeaf = True

    def __init__(self, health: Health, metrics: Callable[[], bytes] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._health = health
        self._metrics = metrics

    def render(self, request: Request) -> bytes:
        if request.path not in (b"/health", b"/metrics"):
            return _page(request, 404, "There are /health and /metrics.\n")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return _page(request, 405, "GET only.\n")
        if request.path == b"/health":
            well, page = self._health()
            return _page(request, 200 if well else 503, json.dumps(page) + "\n", b"application/json")
        if self._metrics is None:
            return _page(request, 404, NO_METRICS)
        return _page(request, 200, self._metrics(), b"text/plain; version=0.0.4; charset=utf-8")


def _page(request: Request, code: int, text: str | bytes, form: bytes = b"text/plain; charset=utf-8") -> bytes:
    body = text if isinstance(text, bytes) else text.encode()
    request.setResponseCode(code)
    request.setHeader(b"content-type", form)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(body))
    return b"" if request.method == b"HEAD" else body


def health_site(health: Health, metrics: Callable[[], bytes] | None) -> Site:
    """
    @param health: Asked for each C{/health}, which is 200 when all is well, else 503.
    @param metrics: Gives the C{/metrics} page, C{None} when there is none.
    @return: What an endpoint listens with.
    """
    return _Quiet(_Pages(health, metrics))  # type: ignore[no-untyped-call]
