"""
Certificates for tests, and a RabbitMQ that speaks TLS with them.

Owns an authority made for the occasion, with trustme, and the listener that the private node opens at run time.
"""

from __future__ import annotations

import datetime
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from txpika.test import broker


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
    RabbitMQ with TLS, on 127.0.0.1.

    @ivar authority: Which vouches for it.
    @ivar client: The user of client certificates of that common name.
    @ivar port: Where its certificate is for C{localhost}, C{127.0.0.1} and C{::1}.
    @ivar strict_port: The same, where it wants a client certificate.
    @ivar expired_port: Where its certificate is out of date.
    @ivar other_port: Where its certificate is for another host.
    """

    authority: Authority
    client: str
    port: int
    strict_port: int
    expired_port: int
    other_port: int


#: And what makes it listen.
_started: list[tuple[SecureBroker, Callable[[], object]]] = []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secure_broker(folder: str) -> SecureBroker:
    """
    The private node with TLS, and with the mechanism EXTERNAL for one user. Started once in a test run, and again when
    a test has stopped the node meanwhile; it goes with the node.

    @param folder: Where its certificates may go.
    @raise SkipTest: There is no broker.
    """
    if not _started:
        broker.require_broker()
        _started.append(_start(Authority(folder)))
    secure, listen = _started[0]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", secure.port)):
            listen()
    return secure


def _start(authority: Authority) -> tuple[SecureBroker, Callable[[], object]]:
    names = ("localhost", "127.0.0.1", "::1")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    good = authority.issue(*names)
    pems = (good, good, authority.issue(*names, not_after=yesterday), authority.issue("example.org"))
    ports = [_free_port() for _ in pems]
    listeners = [
        f'ok = rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [{{cacertfile, "{authority.cafile}"}},'
        f' {{certfile, "{pem}"}}, {{keyfile, "{pem}"}}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, {must}}}], 2)'
        for port, pem, must in zip(ports, pems, ("false", "true", "false", "false"), strict=True)
    ]
    plugins = Path(os.environ["TXPIKA_TEST_BASE"]) / "enabled_plugins"
    plugins.write_text("[rabbitmq_auth_mechanism_ssl].\n")
    steps = (
        "{ok, _} = application:ensure_all_started(ssl)",
        *listeners,
        f'rabbit_plugins:ensure("{plugins}")',
        "ok = application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL'])",
        "ok = application:set_env(rabbit, ssl_cert_login_from, common_name)",
        # EXTERNAL looks here for whether client certificates are verified at all.
        "ok = application:set_env(rabbit, ssl_options, [{verify, verify_peer}, {fail_if_no_peer_cert, false}])",
    )
    client = f"client-{uuid.uuid4().hex[:12]}"
    broker.ctl("add_user", client, "unused")
    broker.ctl("set_permissions", client, ".*", ".*", ".*")
    return SecureBroker(authority, client, *ports), lambda: broker.ctl("eval", f"{', '.join(steps)}.")
