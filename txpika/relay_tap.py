# -*- test-case-name: txpika.test.test_relay_tap -*-
"""
C{twist txpika-relay} and C{twistd txpika-relay}: move messages from a queue on one broker to an exchange on another.

Owns how the process begins and ends, and what it says of itself meanwhile. Options are L{txpika.relay_options}', moving
is L{txpika.relay}'s; what it has in common with other commands is L{txpika.command}'s.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.command import CommandService, Link, typed
from txpika.declaring import described
from txpika.last_words import SOFTWARE, TEMPFAIL, UNAVAILABLE, Ending
from txpika.relay import Relay, RelayListener, Side
from txpika.relay_options import NAME, Options

#: RabbitMQ's own limit for bodies, whatever it is configured to, in bytes. Over txpika's default, which is lower,
#: messages would be rejected.
MAX_BODY_SIZE = 2**29
#: Messages that wait for the target are bounded by their number: none is to fail for the sake of its size, in bytes.
MAX_HELD = 2**62

__all__ = ["Options", "RelayService", "makeService"]


class _Listener(RelayListener):
    """Hears the relay for the L{RelayService}."""

    def __init__(self, owner: RelayService) -> None:
        self._owner = owner

    def trouble(self, side: Side, error: Exception) -> None:
        self._owner.links[side].last_error = error

    def refused(self, side: Side, error: Exception) -> None:
        options = self._owner.options
        what = f"queue {options['queue']!r}" if side == "source" else f"exchange {options['exchange']!r}"
        self._owner.ending.fail(UNAVAILABLE, f"{what} of the {side}: {described(error)}")

    def failed(self, failure: Failure) -> None:
        self._owner.ending.fail(SOFTWARE, typed(failure.value))


class RelayService(CommandService):
    """
    What the command runs: a relay, and the page that tells how it is.

    @ivar links: The connections to C{"source"} and C{"target"}.
    @ivar relay: What moves messages.
    """

    _log = Logger()
    options: Options

    def __init__(
        self,
        options: Options,
        reactor: Any,
        ending: Ending,
        *,
        source_endpoint: Any = None,
        target_endpoint: Any = None,
    ) -> None:
        """
        @param options: Parsed.
        @param ending: Told when the process is to end.
        @param source_endpoint: See L{txpika.service.AMQPService}.
        @param target_endpoint: The same.
        """
        super().__init__(options, reactor, ending)
        options.source.max_body_size = MAX_BODY_SIZE
        options.target.max_held = MAX_HELD
        self.links: dict[Side, Link] = {
            "source": Link(self, options.source, "the source", source_endpoint),
            "target": Link(self, options.target, "the target", target_endpoint),
        }
        self.relay = Relay(
            self.links["source"].amqp,
            options["queue"],
            self.links["target"].amqp,
            options["exchange"],
            options["routing-key"],
            relay_name=options["name"],
            window=options.window,
            source_declarations=options.source_declarations,
            target_declarations=options.target_declarations,
            listener=_Listener(self),
        )

    async def begin(self) -> None:
        """Connect to both, and move messages."""
        self.relay.startService()

    async def drain(self) -> None:
        """No more messages; the target's word on those under way is waited for, and they are acknowledged."""
        self._log.info("Draining: no more messages, {count} under way", count=self.relay.under_way)
        await self.relay.stopService()
        self._log.info("The end: {relay!r}", relay=self.relay)
        if self.relay.left:
            text = f"not confirmed after {self.options.drain_timeout:g} s, and may come twice: {self.relay.left}"
            self.ending.fail(TEMPFAIL, text)

    def health(self) -> tuple[bool, dict[str, object]]:
        """@return: Whether messages come from the source and the target takes them, and what there is to say."""
        relay = self.relay
        return relay.consuming and relay.publishing, {
            "source": self.links["source"].health(consuming=relay.consuming),
            "target": self.links["target"].health(publishing=relay.publishing),
            "under_way": relay.under_way,
            "moved": relay.moved,
            "retried": relay.retried,
            "rejected": relay.rejected,
        }


def makeService(options: Options) -> RelayService:
    """
    @param options: Parsed.
    @return: What the command runs.
    """
    from twisted.internet import reactor

    return RelayService(options, reactor, Ending(NAME, reactor))
