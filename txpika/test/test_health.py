"""Tests for what a consumer's process tells by HTTP."""

from __future__ import annotations

import json

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txpika.health import health_site


class HealthTests(SynchronousTestCase):
    """The pages."""

    def setUp(self) -> None:
        self.well = True
        self.metrics = b"# HELP some_metric\n"

    def ask(self, path: str, method: str = "GET", with_metrics: bool = True) -> tuple[int, dict[str, str], bytes]:
        """@return: Code, headers and body of the answer."""
        site = health_site(lambda: (self.well, {"state": "as it is"}), (lambda: self.metrics) if with_metrics else None)
        site.startFactory()
        self.addCleanup(site.stopFactory)
        protocol = site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        protocol.connectionLost(Failure(ConnectionDone()))
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body

    def test_health(self) -> None:
        code, headers, body = self.ask("/health")
        self.assertEqual((code, headers["content-type"]), (200, "application/json"))
        self.assertEqual(json.loads(body), {"state": "as it is"})
        self.assertEqual(headers["cache-control"], "no-store")

    def test_not_well(self) -> None:
        self.well = False
        code, _, body = self.ask("/health")
        self.assertEqual((code, json.loads(body)), (503, {"state": "as it is"}))

    def test_metrics(self) -> None:
        code, headers, body = self.ask("/metrics")
        self.assertEqual((code, body), (200, self.metrics))
        self.assertTrue(headers["content-type"].startswith("text/plain; version=0.0.4"))

    def test_without_metrics(self) -> None:
        code, _, body = self.ask("/metrics", with_metrics=False)
        self.assertEqual(code, 404)
        self.assertIn(b"txpika[prometheus]", body)

    def test_head(self) -> None:
        code, headers, body = self.ask("/health", "HEAD")
        self.assertEqual((code, body), (200, b""))
        self.assertGreater(int(headers["content-length"]), 0)

    def test_queries_are_let_pass(self) -> None:
        self.assertEqual(self.ask("/health?from=probe")[0], 200)

    def test_nothing_else(self) -> None:
        for path in ("/", "/health/", "/healthy", "/health/more", "/metrics/x", "//health"):
            code, _, body = self.ask(path)
            self.assertEqual((code, body), (404, b"There are /health and /metrics.\n"), path)

    def test_other_methods(self) -> None:
        for path in ("/health", "/metrics"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                code, headers, _ = self.ask(path, method)
                self.assertEqual((code, headers["allow"]), (405, "get, head"))
