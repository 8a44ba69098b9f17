"""
How often the bytes of the broker are copied, whole or in reads of any size: so many bytes a byte received, and no more
the longer a message is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from txpika import BasicProperties
from txpika.core.memory import memory
from txpika.spec import Basic
from txpika.test.counting import SKIP, Copying, peaks_of
from txpika.test.fakes import TwistedPeer, frame, method
from txpika.test.instruments import QUIET
from txpika.test.roads import deliveries

KIB = 1024
MIB = 1024 * KIB
#: The size of a read that takes all there is.
WHOLE = 2**40


class Arriving(NamedTuple):
    """Bytes of the broker, and how many deliveries they are."""

    data: bytes
    messages: int


def small() -> Arriving:
    """Messages of 100 bytes."""
    return Arriving(b"".join(deliveries().each(200)), 200)


def large() -> Arriving:
    """A body in many frames."""
    return Arriving(deliveries(b"x" * 10 * MIB).each(1)[0], 1)


def headers() -> Arriving:
    """A message whose headers are 240 KiB: one frame, which cannot be cut."""
    properties = BasicProperties(headers={f"h{number}": "v" * KIB for number in range(235)}).encode()
    header = b"\x00\x3c\x00\x00" + (1).to_bytes(8, "big") + properties
    deliver = Basic.Deliver("t", 1, False, "", "q")
    return Arriving(method(1, deliver) + frame(2, 1, header) + frame(3, 1, b"x"), 1)


Budgets = dict[Callable[[], Arriving], dict[int, float]]

#: For what arrives and the size of a read, in bytes: how many bytes are taken of Python's allocator for each byte
#: received. Of each read it is what was taken at most at a time; and it includes the bodies, which are kept. Objects
#: are in it too, which is what makes reads of single bytes dear.
TAKEN: Budgets = {
    small: {1: 155, 100: 5.3, KIB: 2.5, 4 * KIB: 2.0, 64 * KIB: 0.93, WHOLE: 0.93},
    large: {KIB: 1.7, 4 * KIB: 1.2, 64 * KIB: 1.02, WHOLE: 1.01},
    headers: {100: 5.4, KIB: 4.0, 16 * KIB: 4.0, 64 * KIB: 4.0, WHOLE: 2.01},
}
#: How many bytes are cut out of a read for each of its bytes, whatever becomes of them. What is short-lived does not
#: show in L{TAKEN}, which knows the most at a time.
CUT: Budgets = {small: {WHOLE: 0.79}}


class CopyingTests(SynchronousTestCase):
    """A consumer that keeps all bodies."""

    skip = SKIP

    def start(self) -> Callable[[bytes], None]:
        """@return: Takes bytes of the broker."""
        self.bodies: list[bytes] = []
        self.patch(memory, "largest", 1 << 30)  # else the first large message of the process asks for more, unused
        peer = TwistedPeer(QUIET).open(heartbeat=0)
        peer.consuming(peer.open_face(), self.keep, no_ack=True)
        return peer.protocol.dataReceived

    def keep(self, delivery: Any) -> None:
        self.bodies.append(delivery.body)

    def taken(self, arriving: Arriving, size: int) -> float:
        """@return: Bytes of memory for each byte received."""
        total = sum(peaks_of(self.start(), pieces(arriving.data, size)))
        self.assertEqual(len(self.bodies), arriving.messages)
        return total / len(arriving.data)

    def cut(self, arriving: Arriving, size: int) -> float:
        """@return: Bytes cut out of it for each byte received."""
        read = self.start()
        Copying.copied = 0
        for piece in pieces(arriving.data, size):
            read(Copying(piece))
        self.assertEqual(len(self.bodies), arriving.messages)
        # Else the bytes are copied in a way that this does not see.
        self.assertGreaterEqual(Copying.copied, sum(map(len, self.bodies)))
        return Copying.copied / len(arriving.data)

    def check(self, what: str, measure: Callable[[Arriving, int], float], budgets: Budgets) -> None:
        wrong = []
        for kind, sizes in budgets.items():
            arriving = kind()
            for size, budget in sizes.items():
                spent = measure(arriving, size)
                if spent > budget:
                    reads = "one read" if size == WHOLE else f"reads of {size} bytes"
                    wrong.append(f"{kind.__name__} in {reads}: {spent:.3f} bytes {what} a byte, the budget is {budget}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_taken(self) -> None:
        self.check("taken", self.taken, TAKEN)

    def test_cut(self) -> None:
        self.check("cut", self.cut, CUT)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """What is read, one read after the other."""
    return (data[at : at + size] for at in range(0, len(data), size))
