# -*- test-case-name: txpika.test.test_broker_tool -*-
"""
How a test gets at the RabbitMQ it runs against.

Owns the reading of the environment that C{tools/rabbitmq.py run} sets, and nothing else: it starts no broker itself, as
an installed txpika comes without that program.

 - C{TXPIKA_TEST_URI}: C{amqp://user:password@127.0.0.1:port/%2F}, of a user who may do everything;
 - C{TXPIKA_TEST_BASE}: the node's folder, which holds its rabbitmqctl;
 - C{CI} or C{TXPIKA_REQUIRE_BROKER}, not empty: a test without a broker fails instead of being skipped.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from unittest import SkipTest

#: Seconds one rabbitmqctl call may take.
CTL_DEADLINE = 60

HOW_TO_RUN = "no RabbitMQ to test against: run `make test`"


class BrokerMissing(Exception):
    """There is no RabbitMQ, and the environment says that there must be one."""


class CtlError(Exception):
    """rabbitmqctl failed; the text is what it said."""


def require_broker(environment: Mapping[str, str] = os.environ) -> str:
    """
    The URI to connect to; call it in C{setUp}.

    @raise SkipTest: There is no broker.
    @raise BrokerMissing: There is no broker, and there must be one.
    """
    return _from_environment("TXPIKA_TEST_URI", environment)


def ctl(*arguments: str) -> str:
    """
    Run C{rabbitmqctl --silent} on the broker, for what AMQP cannot do: close connections, set alarms, stop it.

    @return: What it printed: rows only, columns separated by tabs.
    @raise CtlError: It failed.
    @raise SkipTest: There is no broker.
    @raise BrokerMissing: There is no broker, and there must be one.
    """
    program = os.path.join(_from_environment("TXPIKA_TEST_BASE", os.environ), "ctl")
    done = subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CTL_DEADLINE
    )
    if done.returncode:
        raise CtlError(f"rabbitmqctl {' '.join(arguments[:1])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    if value := environment.get(name):
        return value
    if environment.get("CI") or environment.get("TXPIKA_REQUIRE_BROKER"):
        raise BrokerMissing(HOW_TO_RUN)
    raise SkipTest(HOW_TO_RUN)
