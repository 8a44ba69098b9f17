# -*- test-case-name: txpika.test.test_tap -*-
"""
C{twist txpika-consumer} and C{twistd txpika-consumer}: consume from queues, with a handler named on the command line.

Owns what comes before the first delivery and after the last one, and what the process says of itself meanwhile. Options
are L{txpika.tap_options}', one queue is L{txpika.queue_consumer}'s, the connection L{txpika.service}'s; what it has in
common with other commands is L{txpika.command}'s.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.command import CommandService, Link, typed
from txpika.declaring import described
from txpika.handling import OnDelivery
from txpika.last_words import SOFTWARE, TEMPFAIL, UNAVAILABLE, USAGE, Ending
from txpika.queue_consumer import QueueConsumer
from txpika.tap_options import NAME, Options

__all__ = ["ConsumerService", "Options", "makeService"]


class ConsumerService(CommandService):
    """
    What the command runs: a connection, a consumer for each queue, and the page that tells how they are.

    @ivar link: The connection.
    @ivar queues: By name.
    """

    _log = Logger()
    options: Options

    def __init__(self, options: Options, reactor: Any, ending: Ending, *, endpoint: Any = None) -> None:
        """
        @param options: Parsed.
        @param ending: Told when the process is to end.
        @param endpoint: See L{txpika.service.AMQPService}.
        """
        super().__init__(options, reactor, ending)
        self.queues: dict[str, QueueConsumer] = {}
        self.link = Link(self, options.parameters, "the broker", endpoint)

    async def begin(self) -> None:
        """Connect, and consume."""
        self.link.amqp.startService()
        try:
            handler = await self.options.source.make()
        except CancelledError:
            raise
        except Exception as error:
            self._log.failure("The factory of the handler failed")
            self.ending.fail(USAGE, f"handler {self.options.source.name!r}: {typed(error)}")
            return
        self._consume(handler)

    def _consume(self, handler: OnDelivery) -> None:
        for queue in self.options.queues:
            self.queues[queue] = consumer = QueueConsumer(
                self.link.amqp, queue, handler, self.options.terms, self.reactor, self._refused, self._handler_failed
            )
            consumer.start()

    async def drain(self) -> None:
        """No more deliveries, the handler ends those it is at work on, and their acks are written."""
        for consumer in self.queues.values():
            consumer.stop()
        self._log.info("Draining: no more deliveries, {running} at work", running=self._running())
        await self.link.amqp.stopService()
        if self._running():
            text = f"still at work after {self.options.drain_timeout:g} s, to be delivered again: {self._running()}"
            self.ending.fail(TEMPFAIL, text)

    def _running(self) -> int:
        return sum(consumer.running for consumer in self.queues.values())

    # What others tell

    def _refused(self, queue: str, error: Exception) -> None:
        self.link.last_error = error
        self.ending.fail(UNAVAILABLE, f"queue {queue!r}: {described(error)}")

    def _handler_failed(self, queue: str, failure: Failure) -> None:
        self.ending.fail(SOFTWARE, f"the handler failed on a delivery from queue {queue!r}: {typed(failure.value)}")

    # What is told to others

    def health(self) -> tuple[bool, dict[str, object]]:
        """@return: Whether there is a connection and a consumer on each queue, and what there is to say."""
        queues = {
            name: {
                "consuming": self.link.amqp.state == "open" and consumer.consuming,
                "running": consumer.running,
                "handled": consumer.handled,
                "failed": consumer.failed,
            }
            for name, consumer in ((name, self.queues.get(name)) for name in self.options.queues)
            if consumer is not None
        }
        well = len(queues) == len(self.options.queues) and all(queue["consuming"] for queue in queues.values())
        return well, self.link.health(queues=queues)


def makeService(options: Options) -> ConsumerService:
    """
    @param options: Parsed.
    @return: What the command runs.
    """
    from twisted.internet import reactor

    return ConsumerService(options, reactor, Ending(NAME, reactor))
