"""Tests for L{txpika.core.memory}: that large messages are put where those before them were."""

from __future__ import annotations

import platform
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from txpika.core import memory
from txpika.core.memory import MAX_BLOCK, Memory
from txpika.test.counting import SKIP, peaks_of
from txpika.test.fakes import Peer, RecordingConsumer, deliver

#: In a process of its own, as what others have allocated and freed decides what the library does.
PROGRAM = """
import resource
from txpika.core.outbound import MessageEncoder

encoder = MessageEncoder(1, 131_072)

def faults(at_a_time, size=1_000_000):
    body = b"x" * size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        messages = [b"".join(encoder.pieces(b"prefix", b"", body)) for _ in range(at_a_time)]
        messages.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(6)
print(faults(2), faults(6))
faults(2, 12_000_000)
print(faults(2, 12_000_000))
"""


class LargeTests(SynchronousTestCase):
    """Messages of 1 MB and of 12."""

    def test_faults(self) -> None:
        """Pages the system has to give, for 20 times so many of them."""
        done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True, timeout=60)
        for faults in done.stdout.split():
            self.assertLess(int(faults), 3500, done.stdout)

    if platform.libc_ver()[0] != "glibc" or platform.python_implementation() != "CPython":
        test_faults.skip = "it is about glibc and CPython"  # type: ignore[attr-defined]

    def test_who_tells(self) -> None:
        """A message that does not fit into one frame, when it is sent, and when all of it has come."""
        peer = Peer().open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        self.patch(memory.memory, "largest", 0)
        channel.publish("", "q", b"x" * 131_064)
        self.assertEqual(memory.memory.largest, 0)
        channel.publish("", "q", b"x" * 131_065)
        self.assertEqual(memory.memory.largest, 1 << 17)
        data = deliver(1, consumer.consumer_tag, 1, b"x" * 300_000)
        peer.send(data[:250_000])
        self.assertEqual(memory.memory.largest, 1 << 17)
        peer.send(data[250_000:])
        self.assertEqual(memory.memory.largest, 1 << 19)
        channel.publish("", "q", b"x" * 150_000)
        peer.send(deliver(1, consumer.consumer_tag, 2, b"x" * 150_000))
        self.assertEqual(memory.memory.largest, 1 << 19)


class ExpectTests(SynchronousTestCase):
    """What is asked for."""

    skip = SKIP

    def asked(self, *sizes: int) -> list[int]:
        """@return: Kilobytes, for messages of these sizes."""
        return [peak // 1000 for peak in peaks_of(Memory().expect, sizes)]

    def test_four_of_them(self) -> None:
        self.assertEqual(self.asked(1 << 16, (1 << 16) + 1), [(4 << 16) // 1000, (8 << 16) // 1000])

    def test_never_more_than_counts(self) -> None:
        self.assertEqual(self.asked(1 << 62), [MAX_BLOCK // 1000])

    def test_not_again_when_no_more_counts(self) -> None:
        """It would come from the heap, and every page be touched."""
        expecting = Memory()
        self.assertLess(peaks_of(expecting.expect, (9_000_000, 17_000_000))[1], 1000)

    def test_there_is_none(self) -> None:
        def fails(size: int) -> bytes:
            raise MemoryError

        memory.bytes = fails  # type: ignore[attr-defined]
        self.addCleanup(delattr, memory, "bytes")
        Memory().expect(1000)
