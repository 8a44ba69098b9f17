# -*- test-case-name: txpika.test.test_acks -*-
"""
Which deliveries of one channel wait to be acknowledged, and how the program's acks are written.

Owns that nothing is acked twice or on the wrong channel, and that acks made together leave together. Knows the channel
it writes to; not who consumes.
"""

from __future__ import annotations

import struct
from threading import get_ident
from typing import TYPE_CHECKING, Any

from txpika.core.transactions import Uncommitted
from txpika.exceptions import ProtocolError, StaleDelivery
from txpika.spec import FRAME_END, FRAME_METHOD, UNEXPECTED_FRAME
from txpika.spec.wire import check_bit

if TYPE_CHECKING:
    from txpika.core.channel import Channel
    from txpika.core.connection import Connection

_SETTLE = struct.Struct(">BHIIQBB")
_SIZE = 13
_ACK = 60 << 16 | 80
_REJECT = 60 << 16 | 90
_NACK = 60 << 16 | 120
#: Up to this many tags in a row that need no ack are skipped one by one, more in one step.
LEAP = 1000


def check_tag(delivery_tag: object) -> None:
    """@raise TypeError: when a program passes anything but an int as a delivery tag."""
    if not isinstance(delivery_tag, int) or isinstance(delivery_tag, bool):
        raise TypeError(f"delivery_tag must be int, not {type(delivery_tag).__name__}")


class Acks:
    """
    @ivar unacked: Delivery tags that wait for an ack, nack or reject, in order.
    @ivar delivered: The highest delivery tag so far, not counting direct replies.
    @ivar pending: How many acks were made but not yet written.
    @ivar in_vain: How many deliveries were settled after L{lapse}.
    @ivar recovering: How many C{basic.recover} are unanswered; while any is, the broker takes back what it delivers.
    """

    __slots__ = (
        "_channel",
        "_connection",
        "_lapsed",
        "_outbox",
        "_pending_tag",
        "_replied",
        "_settled",
        "_thread",
        "_wire",
        "delivered",
        "in_vain",
        "pending",
        "recovering",
        "unacked",
    )

    def __init__(self, channel: Channel, connection: Connection) -> None:
        self._channel = channel
        self._connection = connection
        self._outbox = channel.outbox
        self._wire = connection.wire
        self._thread = connection.thread
        self.recovering = 0
        self.in_vain = 0
        self.unacked: dict[int, None] = {}
        self._lapsed: dict[int, None] = {}  # unsettled when the connection was lost
        self.delivered = 0
        self._replied = 0  # the tag of the latest direct reply, while no higher one was delivered
        self._settled = 0  # all delivery tags up to this one are settled
        self.pending = 0
        self._pending_tag = 0

    @property
    def face(self) -> Any:
        """The channel as its user knows it."""
        return self._channel.face

    def announced(self, delivery_tag: int, direct_reply: bool = False) -> None:
        """
        The next delivery arrives. The short road does this in place.

        @param direct_reply: It came by direct reply-to. RabbitMQ before 4.2 does not count such a delivery: the next
            one has the same tag. From 4.2 on it does.
        @raise ProtocolError: when its tag is out of order.
        """
        if delivery_tag != self.delivered + 1 and not (
            delivery_tag > self.delivered and self._replied <= delivery_tag <= self._replied + 1
        ):
            raise ProtocolError(
                f"delivery {delivery_tag} after {self.delivered} on channel {self._channel.number}", UNEXPECTED_FRAME
            )
        if direct_reply:
            self._replied = delivery_tag
        else:
            self.delivered = delivery_tag

    def waits_for(self, delivery_tag: int) -> bool:
        """@return: Whether a delivery is still to be settled."""
        return delivery_tag in self.unacked

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """
        C{basic.ack}. Acks made while one read is processed leave together; those made in delivery order as one frame.

        @param delivery_tag: Of an unsettled delivery; 0 with C{multiple} for all so far.
        @param multiple: Settle all unsettled ones before it, too.
        @raise StaleDelivery: when there is nothing to acknowledge. Nothing is written.
        @raise TypeError: when C{multiple} is true but not a bool.
        @raise WrongThread: when called from a thread other than the connection's.
        """
        if get_ident() != self._thread:
            self._connection.check_thread()
        if multiple:
            check_bit(multiple, "basic.ack: multiple")
            self._settle(_ACK, delivery_tag, True, 1)
            return
        try:
            del self.unacked[delivery_tag]
        except KeyError:
            self._stale(delivery_tag, False)
            return
        if self._settled != delivery_tag - 1:
            self._skip_settled(delivery_tag)
        if self._settled == delivery_tag - 1:
            self._settled = delivery_tag
            # The broker sees no unsettled tag up to this one but those acked since the last write: one frame will do.
            if self.pending:
                self.pending += 1
                self._pending_tag = delivery_tag
                return
            if self._outbox.clear and self._connection.reading:
                self.pending = 1
                self._pending_tag = delivery_tag
                self._outbox.clear = False
                self._connection.acking.append(self)
                return
        self._outbox.write(_SETTLE.pack(FRAME_METHOD, self._channel.number, _SIZE, _ACK, delivery_tag, 0, FRAME_END))

    def write(self) -> None:
        """Write the deferred acks as one frame."""
        if self.pending:
            multiple = self.pending > 1
            self.pending = 0
            self._wire.send(
                _SETTLE.pack(FRAME_METHOD, self._channel.number, _SIZE, _ACK, self._pending_tag, multiple, FRAME_END)
            )
            self._outbox.update()

    def nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """
        C{basic.nack}.

        @raise StaleDelivery: as L{ack}.
        @raise TypeError: when C{multiple} or C{requeue} is not a bool: the wire has one bit for each.
        """
        check_bit(multiple, "basic.nack: multiple")
        check_bit(requeue, "basic.nack: requeue")
        self._settle(_NACK, delivery_tag, multiple, multiple | requeue << 1)

    def reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """
        C{basic.reject}.

        @raise StaleDelivery: as L{ack}.
        @raise TypeError: when C{requeue} is not a bool.
        """
        check_bit(requeue, "basic.reject: requeue")
        self._settle(_REJECT, delivery_tag, False, int(requeue))

    def _settle(self, method: int, delivery_tag: int, multiple: bool, bits: int) -> None:
        self._connection.check_thread()
        unacked = self.unacked
        last = delivery_tag
        if multiple and not delivery_tag:
            # On the wire 0 means whatever the broker has sent, including what has not arrived yet.
            last = next(reversed(unacked), 0)
        if last not in unacked:
            self._stale(delivery_tag, multiple)
            return
        if multiple:
            # Each tag is visited once in the life of the channel.
            for tag in range(self._settled + 1, last + 1):
                unacked.pop(tag, None)
            self._settled = last
        else:
            del unacked[last]
            self._skip_settled(last)
            if self._settled == last - 1:
                self._settled = last
        self._outbox.write(_SETTLE.pack(FRAME_METHOD, self._channel.number, _SIZE, method, last, bits, FRAME_END))

    def _skip_settled(self, before: int) -> None:
        """Move C{_settled} past tags that no longer need an ack, or never did, up to but not including C{before}."""
        if self._settled + 1 in self.unacked:
            return
        if not self.unacked:
            self._settled = before - 1
            return
        settled, stop = self._settled, min(before - 1, self._settled + LEAP)
        while settled < stop and settled + 1 not in self.unacked:
            settled += 1
        if settled == stop < before - 1 and settled + 1 not in self.unacked:
            # Only after a long run: to find its first key, a dictionary steps over all those deleted before it.
            settled = min(next(iter(self.unacked)), before) - 1
        self._settled = settled

    def _stale(self, delivery_tag: int, multiple: bool) -> None:
        """
        There is no such delivery to settle.

        @raise StaleDelivery: unless it was unsettled when the connection was lost, and is settled for the first time.
        """
        tags = [tag for tag in self._lapsed if tag <= delivery_tag or not delivery_tag] if multiple else [delivery_tag]
        if delivery_tag in self._lapsed or (multiple and not delivery_tag and tags):
            for tag in tags:
                del self._lapsed[tag]
            self.in_vain += len(tags)
            return
        if self._channel.reason is not None:
            text = f"delivery {delivery_tag} belongs to a channel that is closed: {self._channel.reason}"
            raise StaleDelivery(text) from self._channel.reason
        raise StaleDelivery(f"delivery {delivery_tag} was settled before, needs no ack, or was never made")

    def lapse(self) -> None:
        """
        The connection is lost and its user goes on with another: the broker takes back what is unsettled. Each of these
        may still be settled, once, to no effect: nothing is written.
        """
        self._lapsed = dict(self.unacked)

    def begin(self) -> None:
        """C{tx.select} was called: remember what is settled from now on."""
        if not isinstance(self.unacked, Uncommitted):
            self.unacked = Uncommitted(self.unacked)
            self._connection.forget_shortcuts(self._channel.number)

    def settled_in_transaction(self) -> list[int]:
        """@return: Tags settled since the last call, or since L{begin}."""
        assert isinstance(self.unacked, Uncommitted)
        return self.unacked.take()

    def restore(self, tags: list[int]) -> None:
        """A transaction was rolled back (C{tx.rollback}): these tags are unsettled again."""
        if tags and self._channel.reason is None:
            in_order = sorted([*self.unacked, *tags])
            self.unacked.clear()  # in place: the short road holds this very dictionary
            self.unacked.update(dict.fromkeys(in_order))
            self._settled = min(self._settled, min(tags) - 1)

    def recover(self) -> None:
        """C{basic.recover} was called: nothing delivered before its reply can be settled any more."""
        self.recovering += 1
        self.unacked.clear()
        self._connection.forget_shortcuts(self._channel.number)

    def recovered(self) -> None:
        """C{basic.recover} was answered: what comes now is delivered anew, unless another is unanswered."""
        self.recovering -= 1

    def end(self) -> None:
        """The channel is closing: what is unacknowledged by now can no longer be acknowledged on it."""
        self.unacked.clear()
        self.pending = 0


class SettlesNothing:
    """What a direct reply is settled with: its tag may also be that of another delivery."""

    __slots__ = ()

    def waits_for(self, delivery_tag: int) -> bool:
        """@return: C{False}."""
        return False

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """@raise StaleDelivery: always."""
        raise StaleDelivery("a direct reply needs no ack")

    def nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """@raise StaleDelivery: always."""
        self.ack(delivery_tag)

    def reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """@raise StaleDelivery: always."""
        self.ack(delivery_tag)


class NoAcks(SettlesNothing):
    """The same, for a given channel."""

    __slots__ = ("_acks",)

    def __init__(self, acks: Acks) -> None:
        self._acks = acks

    @property
    def face(self) -> Any:
        """The channel as its user knows it."""
        return self._acks.face
