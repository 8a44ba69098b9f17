"""Two connected sockets in this process: one for a transport that is tested, one for the test."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

#: What either may have on its way before it takes no more, in bytes, about.
BUFFER = 16 * 1024


def socket_pair(case: SynchronousTestCase) -> tuple[socket.socket, socket.socket]:
    """
    @param case: At its end they are closed.
    @return: Both, non-blocking, with small buffers.
    """
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        case.addCleanup(end.close)
    return pair


def arrived(end: socket.socket, limit: int = 1 << 30) -> bytes:
    """
    @param limit: Read so many bytes at most.
    @return: What can be read there now.
    """
    taken = b""
    while len(taken) < limit:
        try:
            data = end.recv(min(65536, limit - len(taken)))
        except BlockingIOError:
            break
        if not data:
            break
        taken += data
    return taken
