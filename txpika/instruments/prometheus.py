# -*- test-case-name: txpika.test.test_prometheus -*-
"""
Metrics for Prometheus. Needs C{txpika[prometheus]}.

Owns their names, and the numbers behind them. A message costs some additions to plain numbers; families of samples are
made of them only when somebody scrapes. No label has a value for each routing key, queue or message.

Names follow prometheus.io/docs/practices/naming: base units, C{_total} for what only grows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from threading import Lock
from typing import TYPE_CHECKING

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"txpika.instruments.prometheus needs what 'pip install txpika[prometheus]' installs ({error})", name=error.name
    ) from None

from txpika.events import PUBLISH_OUTCOMES, Arrival, Instrument, ObservedConnection, Publication, Sample

if TYPE_CHECKING:
    from txpika.events import PublishOutcome, Settlement
    from txpika.exceptions import CloseReason

#: Upper bounds for the histograms of durations, in seconds: from a broker on the same machine to one in trouble.
DEFAULT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: Outcomes that are the broker's word: how long it took to come is worth a histogram.
_CONFIRMED = ("acked", "nacked", "returned")

_NO_SAMPLE = Sample(0, 0, 0, 0, False, 0.0, 0.0, 0, 0)


class _Histogram:
    """Durations, counted by size."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """@return: Upper bound, and how many were not above it."""
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))

    def total(self) -> float:
        """@return: The sum of all, in seconds."""
        return self._total


class PrometheusInstrument(Instrument):
    """
    Counts and times what happens on all connections that have it as their C{instrument}::

        connection = await txpika.connect(uri, instrument=PrometheusInstrument())

    One is enough for a process, and a registry takes no second one. It may be scraped from any thread; connections that
    share it must live in one.
    """

    def __init__(
        self, registry: CollectorRegistry | None = REGISTRY, buckets: Iterable[float] = DEFAULT_BUCKETS
    ) -> None:
        """
        @param registry: Where it is registered; by default the one that C{prometheus_client} exposes. C{None}: nowhere,
            register it yourself.
        @param buckets: Upper bounds for the histograms, in seconds, ascending.
        @raise ValueError: when C{buckets} are empty or do not ascend, or the registry has such metrics already.
        """
        bounds = tuple(float(bound) for bound in buckets)
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"buckets must be ascending numbers of seconds, and at least one, not {bounds}")
        self._lock = Lock()
        self._live: dict[ObservedConnection, None] = {}
        self._gone = _NO_SAMPLE
        self._opened = 0
        self._reconnects = 0
        self._closed: dict[tuple[str, str], int] = {}
        self._handshake = _Histogram(bounds)
        self._published = 0
        self._published_bytes = 0
        self._outcomes: dict[str, int] = dict.fromkeys(PUBLISH_OUTCOMES, 0)
        self._confirm = _Histogram(bounds)
        self._delivered = 0
        self._delivered_bytes = 0
        self._redelivered = 0
        self._handled = {"success": _Histogram(bounds), "failure": _Histogram(bounds)}
        self._settled = {("ack", False): 0, ("nack", True): 0, ("nack", False): 0, ("reject", True): 0}
        self._settled["reject", False] = 0
        self._settle = _Histogram(bounds)
        if registry is not None:
            registry.register(self)

    # Events

    def connected(self, connection: ObservedConnection, seconds: float) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._live[connection] = None
        self._opened += 1
        self._reconnects += connection.reconnects > 0
        self._handshake.observe(seconds)

    def disconnected(self, connection: ObservedConnection, reason: CloseReason, seconds: float) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        key = (type(reason).__name__, reason.initiator)
        self._closed[key] = self._closed.get(key, 0) + 1
        with self._lock:  # a scrape finds its totals in one place, never in both or in neither
            self._live.pop(connection, None)
            last = connection.sample()._replace(channels=0, unconfirmed=0, unsettled=0, held_bytes=0, blocked=False)
            self._gone = _sum((self._gone, last))

    def published(self, publication: Publication) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._published += 1
        self._published_bytes += publication.size

    def outcome(
        self, publication: Publication, outcome: PublishOutcome, seconds: float, error: BaseException | None
    ) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._outcomes[outcome] += 1
        if outcome in _CONFIRMED:
            self._confirm.observe(seconds)

    def delivered(self, arrival: Arrival) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._delivered += 1
        self._delivered_bytes += arrival.size
        self._redelivered += arrival.redelivered

    def handled(self, arrival: Arrival, seconds: float, error: BaseException | None) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._handled["success" if error is None else "failure"].observe(seconds)

    def settled(self, arrival: Arrival, how: Settlement, requeue: bool, seconds: float) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        self._settled[how, bool(requeue)] += 1
        self._settle.observe(seconds)

    # A scrape

    def describe(self) -> Iterator[Metric]:
        """@return: The same as L{collect}: a registry asks for it, to find out whether a name is taken."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """@return: All metrics as they are now."""
        with self._lock:
            samples = [connection.sample() for connection in list(self._live)]
            now = _sum((self._gone, *samples))
        yield from self._of_connections(now, samples)
        yield from self._of_publishing(now)
        yield from self._of_consuming(now)

    def _of_connections(self, now: Sample, samples: list[Sample]) -> Iterator[Metric]:
        yield _gauge("connections", "Open connections.", len(samples))
        yield _gauge("blocked_connections", "Connections the broker blocks.", sum(each.blocked for each in samples))
        yield _gauge("channels", "Open channels.", now.channels)
        yield _counter("connections_opened", "Connections opened.", self._opened)
        yield _counter("reconnects", "Connections opened in the place of an earlier one.", self._reconnects)
        closed = CounterMetricFamily(
            "txpika_connections_closed",
            "Connections gone, and handshakes failed, by type of the reason and who ended it.",
            labels=("reason", "initiator"),
        )
        for key, count in list(self._closed.items()):
            closed.add_metric(key, count)
        yield closed
        yield _histogram("handshake_duration_seconds", "From the transport to the open connection.", self._handshake)
        yield _counter("blocked_seconds", "Time the broker blocked connections.", now.blocked_seconds)
        yield _counter("write_paused_seconds", "Time the network took no more.", now.write_paused_seconds)
        yield _counter("sent_bytes", "Bytes written to transports.", now.bytes_sent)
        yield _counter("received_bytes", "Bytes read from transports.", now.bytes_received)

    def _of_publishing(self, now: Sample) -> Iterator[Metric]:
        yield _counter("published_messages", "Messages published.", self._published)
        yield _counter("published_bytes", "Bytes of their bodies.", self._published_bytes)
        outcomes = CounterMetricFamily("txpika_publish_outcomes", "What became of them.", labels=("outcome",))
        for outcome, count in self._outcomes.items():
            outcomes.add_metric((outcome.replace(" ", "_"),), count)
        yield outcomes
        yield _histogram("publish_confirm_duration_seconds", "From publish to the broker's word.", self._confirm)
        yield _gauge("unconfirmed_messages", "Messages the broker has not confirmed.", now.unconfirmed)
        yield _gauge("held_bytes", "Bytes of messages that wait to be written.", now.held_bytes)

    def _of_consuming(self, now: Sample) -> Iterator[Metric]:
        yield _counter("delivered_messages", "Messages delivered.", self._delivered)
        yield _counter("delivered_bytes", "Bytes of their bodies.", self._delivered_bytes)
        yield _counter("redelivered_messages", "Messages among them delivered before.", self._redelivered)
        yield _gauge("unsettled_messages", "Deliveries that wait for an ack, nack or reject.", now.unsettled)
        handled = HistogramMetricFamily(
            "txpika_handler_duration_seconds", "How long functions of consumers took.", labels=("result",)
        )
        for result, histogram in self._handled.items():
            handled.add_metric((result,), histogram.buckets(), histogram.total())
        yield handled
        settled = CounterMetricFamily("txpika_settled_messages", "Deliveries settled.", labels=("how", "requeue"))
        for (how, requeue), count in self._settled.items():
            settled.add_metric((how, "true" if requeue else "false"), count)
        yield settled
        yield _histogram("settle_duration_seconds", "From delivery to ack, nack or reject.", self._settle)


def _sum(samples: Iterable[Sample]) -> Sample:
    return Sample._make(map(sum, zip(*samples, strict=True)))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"txpika_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"txpika_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: _Histogram) -> Metric:
    family = HistogramMetricFamily(f"txpika_{name}", text)
    family.add_metric((), histogram.buckets(), histogram.total())
    return family
