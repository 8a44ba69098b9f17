# -*- test-case-name: txpika.test.test_sockets -*-
"""
A socket as the transport of a connection, with or without TLS, on a loop that watches descriptors.

Owns the socket from the moment it is connected to its end, and what waits to be sent. Knows the loop and who takes the
bytes; nothing of AMQP. How a socket comes to be connected is L{txpika.adapters.dial}'s.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, Protocol

from zope.interface import implementer

from txpika.adapters.loop import READ, WRITE, IOLoop
from txpika.interfaces import IPromptTransport

#: Reads in a row before others have their turn.
MAX_READS = 8
#: Bytes collected before they are sent without waiting for the end of the turn.
SEND_AT = 64 * 1024
#: Bytes passed to the socket at a time.
SEND_SIZE = 512 * 1024
#: With more bytes than this waiting for the network, whoever writes is asked to pause.
HIGH_WATER = 256 * 1024
#: With no more bytes than this left, they may go on.
LOW_WATER = 64 * 1024

#: What a non-blocking socket raises when it cannot go on just now. Those of TLS, which only the ssl module knows, are
#: recognized by name, so that a program without TLS need not import that.
_LATER = (BlockingIOError, InterruptedError)
_TLS_LATER = ("SSLWantReadError", "SSLWantWriteError")


def must_wait(error: OSError) -> bool:
    """Whether C{error} of a non-blocking socket only says: not now."""
    return isinstance(error, _LATER) or type(error).__name__ in _TLS_LATER


class Stream(Protocol):
    """Who uses the transport."""

    @property
    def read_size(self) -> int:
        """Bytes to take in one read."""

    def data_received(self, data: bytes, /) -> None: ...
    def connection_lost(self, reason: BaseException | None, /) -> None: ...


@implementer(IPromptTransport)
class SocketTransport:
    """
    A connected socket.

    What is written in one turn of the loop leaves together at its end.

    @ivar buffered: Bytes that wait to be sent.
    @ivar flushed: Called with L{buffered} each time the socket has taken what it takes for now and left some.
    """

    def __init__(self, sock: socket.socket, loop: IOLoop, stream: Stream) -> None:
        """
        @param sock: Connected and non-blocking; under TLS after its handshake. From here on nobody else uses it.
        """
        self._socket = sock
        self._fd = sock.fileno()
        self._loop = loop
        self._stream = stream
        #: How many bytes TLS has decrypted and nobody has read: the loop cannot see them.
        self._unseen: Callable[[], int] | None = getattr(sock, "pending", None)
        self._pieces: list[bytes] = []
        self._sending: bytes | memoryview = b""
        self._flush_due = False
        self._flush_queued = False
        self._producer: Any = None
        self._producer_paused = False
        self._reading = True
        self._receiving = False
        self._losing = False
        self._broken = False
        self._lost = False
        self._events = READ
        self.buffered = 0
        self.flushed: Callable[[int], object] = lambda buffered: None
        loop.add_handler(self._fd, self._ready, READ)

    # ITransport

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn of the loop, or as soon as the network takes it."""
        if self._losing or self._lost:
            return
        self._pieces.append(data)
        self.buffered += len(data)
        if not self._flush_due:
            self._flush_due = True
            if self._flush_queued:
                self._loop.in_vain -= 1
                self._loop.wake()
            else:
                self._flush_queued = True
                self._loop.add_callback(self._turn_over)
        elif self.buffered >= SEND_AT and not self._events & WRITE:
            self.flush()
        if self.buffered > HIGH_WATER:
            self._full()

    def writeNow(self, data: bytes) -> None:
        """Send it now, unless something waits already."""
        if self.buffered or self._losing or self._lost:
            self.write(data)
            return
        self._pieces.append(data)
        self.buffered = len(data)
        self.flush()
        if self.buffered > HIGH_WATER:
            self._full()

    def loseConnection(self) -> None:
        """Send what waits, then close."""
        if not self._losing and not self._lost:
            self._losing = True
            self.flush()

    def abortConnection(self) -> None:
        """Close at once."""
        self._lose(ConnectionAbortedError("it was aborted"))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell it to pause when too much waits."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget it."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._reading = False
        self._watch()

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True
        self._watch()
        if self._unseen is not None and self._unseen():
            self._loop.add_callback(self._read)

    # Sending

    def hold(self) -> None:
        """L{flush} follows, whatever happens, so the loop need not see to what is written until then."""
        if not self._flush_due:
            self._flush_due = True
            if self._flush_queued:
                self._loop.in_vain -= 1

    def _full(self) -> None:
        if not self._producer_paused and self._producer is not None:
            self._producer_paused = True
            self._producer.pauseProducing()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it now."""
        if self._flush_due:
            self._flush_due = False
            if self._flush_queued:
                self._loop.in_vain += 1  # else the loop would look once more without waiting
        if self._lost or self._broken:
            return
        try:
            while self.buffered:
                data = self._sending
                if not data:
                    self._sending = data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                    self._pieces.clear()
                sent = self._socket.send(data if len(data) <= SEND_SIZE else memoryview(data)[:SEND_SIZE])
                if sent == len(data):
                    data = b""
                else:
                    data = memoryview(data)[sent:]
                    if len(data) <= LOW_WATER:
                        data = bytes(data)  # a view keeps all it is a part of while the next is made
                self._sending = data
                self.buffered -= sent
        except OSError as error:
            if not must_wait(error):
                self._cannot_send(error)
                return
        except BaseException as error:
            self._interrupted(error)
            raise
        if self.buffered or self._events != READ:
            self._watch()
        if self._producer_paused and self.buffered <= LOW_WATER:
            self._producer_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        if self.buffered:
            self.flushed(self.buffered)
        elif self._losing and not self._broken:
            self._lose(None)

    def _turn_over(self) -> None:
        self._flush_queued = False
        if self._flush_due:
            self.flush()
        else:
            self._loop.in_vain -= 1

    def _cannot_send(self, error: OSError) -> None:
        """The peer takes no more; it may have said why."""
        self._losing = self._broken = True
        self._drop_unsent()
        self._loop.add_callback(lambda: self._last_words(error))

    def _drop_unsent(self) -> None:
        self._pieces.clear()
        self._sending = b""
        self.buffered = 0

    def _last_words(self, error: OSError) -> None:
        for _ in range(MAX_READS):
            if self._lost:
                return
            try:
                data = self._socket.recv(self._stream.read_size)
            except OSError:
                break
            if not data:
                break
            self._stream.data_received(data)
        self._lose(error)

    def _watch(self) -> None:
        events = (READ if self._reading else 0) | (WRITE if self.buffered and not self._flush_due else 0)
        if events != self._events and not self._lost:
            self._events = events
            self._loop.update_handler(self._fd, events)

    # Receiving

    def _ready(self, _fd: int, events: int) -> None:
        if events & WRITE:
            self.flush()
        if events & READ:
            self._read()

    def _read(self) -> None:
        if self._receiving:
            return  # the loop runs inside what takes the bytes, which must come one read at a time
        self._receiving = True
        try:
            for _ in range(MAX_READS):
                if not self._reading or self._lost:
                    return
                size = self._stream.read_size
                try:
                    data = self._socket.recv(size)
                except OSError as error:
                    if not must_wait(error):
                        self._lose(error)
                    return
                if not data:
                    self._lose(EOFError("the peer closed it"))
                    return
                self._stream.data_received(data)
                if len(data) < size and (self._unseen is None or not self._unseen()):
                    return
            if self._unseen is not None and self._unseen():
                self._loop.add_callback(self._read)
        except BaseException as error:
            self._interrupted(error)
            raise
        finally:
            self._receiving = False

    def _interrupted(self, error: BaseException) -> None:
        """A signal handler has raised in here: nobody can know how many of the bytes were dealt with."""
        self._lose(ConnectionAbortedError(f"{type(error).__name__} was raised in the middle of reading or writing"))

    # The end

    def abandon(self) -> None:
        """In a process that was forked from its owner: close the descriptor, and touch nothing shared."""
        self._lost = True
        self._drop_unsent()
        self._socket.close()

    def _lose(self, reason: BaseException | None) -> None:
        """Close it; the stream is told in a turn of its own, not from inside what it calls."""
        if self._lost:
            return
        self._lost = True
        self._drop_unsent()
        self._loop.remove_handler(self._fd)
        if reason is None and hasattr(self._socket, "unwrap"):
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()  # says that this is the end; the peer's answer is not waited for
        self._socket.close()
        self._loop.add_callback(lambda: self._stream.connection_lost(reason))
