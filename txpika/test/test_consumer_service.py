"""Tests for the service behind C{twist txpika-consumer}: by the clock, without a process or a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika import exceptions
from txpika.loading import HandlerSource
from txpika.message import Delivery
from txpika.spec import Basic, Connection, Queue
from txpika.tap import ConsumerService, Options
from txpika.test.obliging import ObligingBroker, refusal


class Reactor(Clock):
    """It runs."""

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()


class _Port:
    """Is free again a turn after it is not listened at any more."""

    def __init__(self, reactor: ListeningReactor, number: int) -> None:
        self._reactor = reactor
        self._number = number

    def getHost(self) -> int:
        return self._number

    def stopListening(self) -> Deferred[None]:
        return deferLater(self._reactor, 0, self._reactor.taken.remove, self._number)


class ListeningReactor(Reactor):
    """
    One that listens, once at each port.

    @ivar taken: Its ports.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> _Port:
        if port in self.taken:
            raise CannotListenError(interface, port, "in use")
        self.taken.append(port)
        return _Port(self, port)


class Ending:
    """Keeps how the process would end."""

    def __init__(self) -> None:
        self.failures: list[tuple[int, str]] = []

    def on_sigterm(self) -> None:
        """There are no signals."""

    def fail(self, code: int, text: str) -> None:
        self.failures.append((code, text))


class ConsumerServiceTests(SynchronousTestCase):
    """Its life."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.broker = ObligingBroker(self.reactor)
        self.ending = Ending()
        self.bodies: list[bytes] = []

    def handle(self, delivery: Delivery) -> None:
        self.bodies.append(delivery.body)

    def make(self, *arguments: str, factory: Callable[[], object] | None = None) -> ConsumerService:
        options = Options()
        options.parseOptions(
            ["--uri", "amqp://u:p@h/%2F?heartbeat=0", "--queue", "a", "--handler", "builtins.print", *arguments]
        )
        options.source = HandlerSource("handle", factory or self.handle, factory is not None)
        ending: Any = self.ending
        return ConsumerService(options, self.reactor, ending, endpoint=self.broker)

    def start(self, service: ConsumerService) -> None:
        service.startService()
        self.broker.run()

    def stop(self, service: ConsumerService) -> None:
        stopped = service.stopService()
        self.broker.run()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_service(self) -> None:
        service = self.make()
        verifyObject(IService, service)
        self.assertEqual(service.name, "txpika-consumer")

    def test_each_queue_has_its_channel(self) -> None:
        service = self.make("--queue", "b")
        self.start(service)
        consumed = {
            (number, each.queue) for number, each in self.broker.line.methods if isinstance(each, Basic.Consume)
        }
        self.assertEqual(consumed, {(1, "a"), (2, "b")})
        self.broker.line.deliver(b"one", tag="")
        self.assertEqual(self.bodies, [b"one"])
        well, page = service.health()
        self.assertTrue(well)
        counts = {"consuming": True, "running": 0, "handled": 0, "failed": 0}
        self.assertEqual(page["queues"], {"a": counts, "b": counts | {"handled": 1}})
        self.stop(service)
        self.assertEqual(self.ending.failures, [])
        self.assertEqual(service.health()[0], False)
        self.assertEqual(service.health()[1]["state"], "closed")

    def test_not_well_before_there_is_a_consumer(self) -> None:
        made: Deferred[object] = Deferred()
        service = self.make(factory=lambda: made)
        self.assertEqual(service.health(), (False, service.health()[1]))
        self.start(service)
        well, page = service.health()
        self.assertEqual((well, page["state"]), (False, "open"))
        made.callback(self.handle)
        self.broker.run()
        self.assertTrue(service.health()[0])

    def test_stopped_while_the_handler_is_made(self) -> None:
        made: Deferred[object] = Deferred()
        service = self.make(factory=lambda: made)
        self.start(service)
        self.stop(service)
        made.callback(self.handle)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual((self.ending.failures, service.queues), ([], {}))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_not_well_without_a_connection(self) -> None:
        """Although there is a consumer that will go on."""
        service = self.make()
        self.start(service)
        self.broker.line.lose()
        well, page = service.health()
        queues: Any = page["queues"]
        self.assertEqual((well, queues["a"]["consuming"]), (False, False))
        self.assertIn("reset", str(page["last_error"]))
        for _ in range(3):
            self.broker.run(1)
        self.assertTrue(service.health()[0])

    def test_a_factory_that_gives_no_handler(self) -> None:
        service = self.make(factory=lambda: 1)
        self.start(service)
        ((code, text),) = self.ending.failures
        self.assertEqual((code, "is a int" in text), (64, True))
        self.flushLoggedErrors()

    def test_a_queue_that_is_refused_on_a_new_connection(self) -> None:
        service = self.make()
        self.start(service)
        self.broker.answers[Basic.Consume] = refusal(404, "NOT_FOUND - no queue")
        self.broker.line.lose()
        for _ in range(5):
            self.broker.run(1)
        well, page = service.health()
        self.assertEqual((well, page["state"], page["reconnects"]), (False, "open", 1))
        self.assertIn("404 NOT_FOUND", str(page["last_error"]))
        self.assertEqual(self.ending.failures, [])

    def test_what_is_refused_at_first(self) -> None:
        self.broker.answers[Connection.StartOk] = lambda line, number, asked: Connection.Close(403, "ACCESS_REFUSED")
        service = self.make()
        self.start(service)
        ((code, text),) = self.ending.failures
        self.assertEqual((code, "ACCESS_REFUSED" in text), (77, True))

    def test_no_network_is_no_refusal(self) -> None:
        self.broker.up = False
        service = self.make()
        self.start(service)
        for _ in range(30):
            self.broker.run(1)
        self.assertEqual(self.ending.failures, [])
        self.assertEqual(service.health()[1]["state"], "waiting")

    def test_what_counts_as_refused(self) -> None:
        for error, refused in (
            (exceptions.AuthenticationError("no", 403, initiator="peer"), True),
            (exceptions.AuthenticationError("cut", initiator="network"), False),
            (exceptions.TLSVerifyError("expired", initiator="peer"), True),
            (exceptions.TLSError("not installed", initiator="local"), True),
            (exceptions.TLSError("hung up", initiator="network"), False),
            (exceptions.HandshakeError("no such vhost", 530, initiator="peer"), True),
            (exceptions.HandshakeError("starting", 541, initiator="peer"), False),
            (exceptions.HandshakeTimeout("slow"), False),
            (exceptions.ConnectFailed("nobody listens"), False),
        ):
            self.ending.failures.clear()
            link = self.make().link
            link.state_changed(link.amqp, "waiting", error)
            self.assertEqual(bool(self.ending.failures), refused, repr(error))

    def test_refused_later_is_tried_again(self) -> None:
        service = self.make()
        self.start(service)
        service.link.state_changed(
            service.link.amqp, "waiting", exceptions.AuthenticationError("no", 403, initiator="peer")
        )
        self.assertEqual(self.ending.failures, [])
        self.assertIn("no", str(service.health()[1]["last_error"]))

    def test_a_refused_declaration(self) -> None:
        self.broker.answers[Basic.Consume] = refusal(403, "ACCESS_REFUSED - queue in exclusive use")
        self.start(self.make())
        ((code, text),) = self.ending.failures
        self.assertEqual(code, 69)
        self.assertIn("queue 'a': 403 ACCESS_REFUSED", text)
        self.assertEqual(self.broker.line.sent(Queue.Declare), [])

    def test_still_at_work_at_the_end(self) -> None:
        service = self.make("--drain-timeout", "5", factory=lambda: lambda delivery: Deferred())
        self.start(service)
        self.broker.line.deliver(b"one")
        stopped = service.stopService()
        self.broker.run(4)
        self.assertNoResult(stopped)
        self.broker.run(2)
        self.successResultOf(stopped)
        self.assertEqual(self.ending.failures, [(75, "still at work after 5 s, to be delivered again: 1")])

    def test_started_again_before_it_has_stopped(self) -> None:
        """It begins when the handler has finished, with one consumer, and with its page at the same port."""
        working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        self.reactor = reactor = ListeningReactor()
        self.broker = ObligingBroker(reactor)
        service = self.make("--health", "tcp:9999", "--drain-timeout", "5", factory=lambda: work)
        self.start(service)
        self.broker.line.deliver(b"one")
        stopped = service.stopService()
        self.broker.run(1)
        service.startService()
        self.broker.run(1)
        self.assertNoResult(stopped)
        self.assertEqual((service.health()[0], len(self.broker.lines), reactor.taken), (False, 1, [9999]))
        first = self.broker.line
        working[0].callback(None)
        self.broker.run()
        self.broker.run()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(first.sent(Basic.Ack), [Basic.Ack(1)])
        self.assertEqual((service.health()[0], len(self.broker.lines), reactor.taken), (True, 2, [9999]))
        self.assertEqual(len(self.broker.line.sent(Basic.Consume)), 1)
        self.stop(service)
        self.assertEqual((self.ending.failures, reactor.taken), ([], []))

    def test_started_and_stopped_again_before_it_has_stopped(self) -> None:
        service = self.make("--drain-timeout", "5", factory=lambda: lambda delivery: Deferred())
        self.start(service)
        self.broker.line.deliver(b"one")
        first = service.stopService()
        service.startService()
        second = service.stopService()
        self.broker.run(6)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.ending.failures, [(75, "still at work after 5 s, to be delivered again: 1")])
        self.broker.run(60)
        self.assertEqual(len(self.broker.lines), 1)

    def test_stopped_and_started_before_the_reactor_runs(self) -> None:
        later: list[Callable[[], None]] = []
        self.patch(self.reactor, "callWhenRunning", later.append)
        service = self.make()
        service.startService()
        self.successResultOf(service.stopService())
        service.startService()
        for function in later:
            function()
        self.broker.run()
        self.assertEqual(len(self.broker.line.sent(Basic.Consume)), 1)
        self.stop(service)
