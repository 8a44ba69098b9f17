# -*- test-case-name: txpika.test.test_sockets -*-
"""
Connect a socket: each address of each host in turn, until one answers.

Owns the sockets that are being connected, and the TLS handshake. Knows a loop, and what the parameters say about TLS;
nothing of AMQP.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from errno import EALREADY, EINPROGRESS, EWOULDBLOCK
from typing import Any

from txpika.adapters.loop import READ, WRITE, IOLoop, Timer
from txpika.adapters.sockets import must_wait
from txpika.parameters import ConnectionParameters

#: Makes a socket speak TLS with the host it is connected to; its handshake is yet to come.
WrapTLS = Callable[[socket.socket, str], Any]

_UNDER_WAY = (0, EINPROGRESS, EWOULDBLOCK, EALREADY)
#: What C{getaddrinfo} gives for one address, and the host it belongs to.
_Address = tuple[str, int, int, int, Any]


def tls_of(parameters: ConnectionParameters) -> WrapTLS | None:
    """
    @return: What makes a socket speak TLS, as C{parameters} want it; C{None} for no TLS.
    @raise OSError: when a file they name cannot be read.
    """
    options = parameters.tls
    if options is None:
        return None
    from txpika.adapters.stdlib_tls import make_context  # 19 ms, paid only by those who speak TLS

    context = make_context(options)

    def wrap(sock: socket.socket, host: str) -> Any:
        name = options.server_name or host
        return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)

    return wrap


class Dialling:
    """
    One attempt at all addresses of all hosts.

    Names are looked up by the system's own function, which blocks; it may take seconds when a name server does not
    answer. An address in place of a name is not looked up.
    """

    def __init__(
        self,
        loop: IOLoop,
        hosts: Sequence[tuple[str, int]],
        timeout: float,
        connected: Callable[[socket.socket, str], object],
        failed: Callable[[list[tuple[str, OSError]]], object],
        wrap_tls: WrapTLS | None = None,
    ) -> None:
        """
        @param hosts: Names or addresses, each with a port, in the order to try them.
        @param timeout: For all of it, in seconds. An address takes at most its share of what is left.
        @param connected: Called once with the non-blocking socket, past its handshake if it is TLS, and its host.
        @param failed: Otherwise called once with what went wrong, by host.
        """
        self._loop = loop
        self._hosts = list(hosts)
        self._deadline = loop.seconds() + timeout
        self._connected = connected
        self._failed = failed
        self._wrap_tls = wrap_tls
        self._addresses: list[_Address] = []
        self._errors: list[tuple[str, OSError]] = []
        self._host = ""
        self._socket: socket.socket | None = None
        self._timer: Timer | None = loop.callLater(0, self._next)

    def cancel(self) -> None:
        """Give up; neither function is called any more."""
        self._drop()
        self._hosts.clear()
        self._addresses.clear()

    # One after the other

    def _next(self) -> None:
        self._timer = None
        while not self._addresses and self._hosts:
            self._look_up(*self._hosts.pop(0))
        left = self._deadline - self._loop.seconds()
        if not self._addresses or left <= 0:
            if self._addresses or not self._errors:
                self._errors.append((self._addresses[0][0] if self._addresses else "", TimeoutError("timed out")))
            self._failed(self._errors)
            return
        share = left / (len(self._addresses) + len(self._hosts))
        self._timer = self._loop.callLater(share, self._too_long)
        self._try(self._addresses.pop(0))

    def _look_up(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._errors.append((host, error))
            return
        except UnicodeError:
            self._errors.append((host, OSError("not a host name")))
            return
        self._addresses += [(host, family, kind, number, address) for family, kind, number, _, address in found]

    def _try(self, target: _Address) -> None:
        self._host, family, kind, number, address = target
        try:
            self._socket = sock = socket.socket(family, kind, number)
            sock.setblocking(False)
            if family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = sock.connect_ex(address)
            if error not in _UNDER_WAY:
                raise OSError(error, os.strerror(error))
        except OSError as failure:
            self._wrong(failure)
            return
        self._loop.add_handler(sock.fileno(), self._answered, WRITE)

    def _answered(self, _fd: int, _events: int) -> None:
        assert self._socket is not None
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._wrong(OSError(error, os.strerror(error)))
        elif self._wrap_tls is None:
            self._done()
        else:
            fd = self._socket.fileno()
            self._loop.remove_handler(fd)
            try:
                self._socket = self._wrap_tls(self._socket, self._host)
            except (OSError, ValueError) as failure:
                self._wrong(failure if isinstance(failure, OSError) else OSError(str(failure)))
                return
            self._loop.add_handler(fd, self._shake_hands, READ | WRITE)

    def _shake_hands(self, fd: int, _events: int) -> None:
        sock: Any = self._socket
        try:
            sock.do_handshake()
        except OSError as error:
            if not must_wait(error):
                self._wrong(error)
            else:
                self._loop.update_handler(fd, WRITE if "Write" in type(error).__name__ else READ)
        else:
            self._done()

    def _too_long(self) -> None:
        self._timer = None
        self._wrong(TimeoutError("timed out"))

    def _wrong(self, error: OSError) -> None:
        self._errors.append((self._host, error))
        self._drop()
        self._timer = self._loop.callLater(0, self._next)

    def _done(self) -> None:
        sock, self._socket = self._socket, None
        assert sock is not None
        self._loop.remove_handler(sock.fileno())
        self._drop()
        self._connected(sock, self._host)

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_handler(self._socket.fileno())
            self._socket.close()
            self._socket = None
