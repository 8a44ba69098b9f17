"""
Certificates for tests, and a RabbitMQ that speaks TLS with them.

Owns an authority made for the occasion, with trustme, and the listener that the private node opens at run time.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from txpika.test import broker

#: The user that RabbitMQ knows the client certificates of the tests by.
CLIENT = "txpika-client"


class Authority:
    """
    @ivar cafile: File of its certificate, in PEM.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA()
        self._issued = 0
        self.cafile = str(self._folder.resolve() / "ca.pem")
        self._ca.cert_pem.write_to_path(self.cafile)

    def issue(self, *names: str, **more: Any) -> str:
        """
        @param names: Host names and addresses to be valid for.
        @param more: See C{trustme.CA.issue_cert}.
        @return: File of a key and its certificate, in PEM.
        """
        self._issued += 1
        path = str(self._folder.resolve() / f"{self._issued}.pem")
        self._ca.issue_cert(*names, **more).private_key_and_cert_chain_pem.write_to_path(path)
        return path


@dataclass
class SecureBroker:
    """
    RabbitMQ with TLS.

    @ivar authority: Which vouches for it.
    @ivar port: Its port on 127.0.0.1, for a certificate of C{localhost}, C{127.0.0.1} and C{::1}.
    @ivar strict_port: One more, which wants a client certificate.
    """

    authority: Authority
    port: int
    strict_port: int


_started: list[SecureBroker] = []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secure_broker(folder: str) -> SecureBroker:
    """
    The private node with TLS, and with the mechanism EXTERNAL for the user L{CLIENT}. Started once in a test run; it
    goes with the node.

    @param folder: Where its certificates may go.
    @raise SkipTest: There is no broker.
    """
    if not _started:
        broker.require_broker()
        authority = Authority(folder)
        pem = authority.issue("localhost", "127.0.0.1", "::1")
        ports = [_free_port(), _free_port()]
        files = f'{{cacertfile, "{authority.cafile}"}}, {{certfile, "{pem}"}}, {{keyfile, "{pem}"}}'
        listeners = [
            f'ok = rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}},'
            f" [{files}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, {strict}}}], 2)"
            for port, strict in zip(ports, ("false", "true"), strict=True)
        ]
        plugins = Path(os.environ["TXPIKA_TEST_BASE"]) / "enabled_plugins"
        plugins.write_text("[rabbitmq_auth_mechanism_ssl].\n")
        steps = (
            "{ok, _} = application:ensure_all_started(ssl)",
            *listeners,
            f'rabbit_plugins:ensure("{plugins}")',
            "ok = application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL'])",
            "ok = application:set_env(rabbit, ssl_cert_login_from, common_name)",
        )
        broker.ctl("eval", f"{', '.join(steps)}.")
        broker.ctl("add_user", CLIENT, "unused")
        broker.ctl("set_permissions", CLIENT, ".*", ".*", ".*")
        _started.append(SecureBroker(authority, *ports))
    return _started[0]
