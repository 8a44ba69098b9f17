"""
A socket without a network, and connections of the callback API and blocking ones that are told it is theirs.

All but the socket is the real thing: the loop, the transport, the engine and what the program sees. So whatever a
message costs these connections can be counted, down to the call of C{send}.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from txpika.adapters import blocking_connection, loop, socket_connection, waiting
from txpika.adapters.loop import IOLoop
from txpika.spec import Basic, Confirm, Method, Queue, decode_method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import method


class MemorySocket:
    """
    Takes whatever is sent, and gives what it was told to, one piece a read.

    A pipe, in which nothing but wakings go, is what the loop waits for.

    @ivar sends: How often something was sent.
    @ivar size: How many bytes that were.
    @ivar on_send: Called with each of them; may L{give}.
    """

    def __init__(self) -> None:
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        self._pieces: deque[bytes | memoryview] = deque()
        self.closed = False
        self.sends = 0
        self.size = 0
        self.on_send: Callable[[bytes], object] = lambda data: None

    def fileno(self) -> int:
        return self._awake

    def send(self, data: memoryview) -> int:
        self.sends += 1
        self.size += len(data)
        self.on_send(data)  # type: ignore[arg-type]
        return len(data)

    def give(self, data: bytes) -> None:
        """Have the connection read that, when it reads; what is longer than a read in several."""
        self._pieces.append(data)
        os.write(self._waker, b"x")

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            raise BlockingIOError
        data = self._pieces[0]
        if len(data) > size:
            self._pieces[0] = memoryview(data)[size:]
            return bytes(data[:size])
        self._pieces.popleft()
        if not self._pieces:
            os.read(self._awake, 256)
        return bytes(data)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._awake)
            os.close(self._waker)


class ObligingPeer:
    """
    The broker at the other end: agrees to whatever waits for an answer.

    @ivar socket: The connection's.
    @ivar messages: In the queue: bodies that C{basic.get} gets, one after the other.
    """

    def __init__(self) -> None:
        self.socket = MemorySocket()
        self.socket.on_send = self.answer

    def dialling(
        self,
        loop: IOLoop,
        hosts: Any,
        timeout: float,
        connected: Callable[[Any, str], object],
        failed: Any,
        wrap_tls: Any = None,
    ) -> None:
        """In the place of L{txpika.adapters.dial.Dialling}."""
        loop.add_callback(lambda: connected(self.socket, "memory"))

    def serve(self, stack: ExitStack) -> None:
        """Connections made from now on, until the end of C{stack}, are to this. Time stands still for them."""
        still = SimpleNamespace(monotonic=lambda: 0.0, time=lambda: 0.0)
        for module, name, value in (
            (blocking_connection, "Dialling", self.dialling),
            (socket_connection, "Dialling", self.dialling),
            (loop, "time", still),
            (waiting, "monotonic", still.monotonic),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        stack.callback(self.socket.close)

    def answer(self, data: bytes) -> None:
        """Whole frames of the client's."""
        data = bytes(data)
        if data.startswith(b"AMQP"):
            self.say(0, ConnectionMethods.Start(0, 9, {"product": "RabbitMQ"}, b"PLAIN", b"en_US"))
            return
        at = 0
        while at < len(data):
            kind, number, size = struct.unpack_from(">BHI", data, at)
            if kind == 1:
                self._method(number, decode_method(data[at + 7 : at + 7 + size])[0])
            at += size + 8

    def _method(self, number: int, said: Method) -> None:
        if isinstance(said, ConnectionMethods.StartOk):
            self.say(0, ConnectionMethods.Tune(2047, 131072, 0))
        elif isinstance(said, ConnectionMethods.Open):
            self.say(0, ConnectionMethods.OpenOk())
        elif isinstance(said, ChannelMethods.Open):
            self.say(number, ChannelMethods.OpenOk())
        elif isinstance(said, Confirm.Select):
            self.say(number, Confirm.SelectOk())
        elif isinstance(said, Queue.Declare):
            self.say(number, Queue.DeclareOk(said.queue, 0, 0))
        elif isinstance(said, Basic.Consume):
            self.say(number, Basic.ConsumeOk(said.consumer_tag))

    def say(self, number: int, said: Method) -> None:
        self.socket.give(method(number, said))
