"""
A RabbitMQ of a test's own, to be killed and started again, for tests in a checkout of the repository.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.threads import deferToThread

from txpika.test import broker

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "rabbitmq.py"


class OwnNode:
    """
    A node that nobody else uses. Its start takes some ten seconds.

    @ivar uri: Of a user who may do everything.
    """

    def __init__(self) -> None:
        """
        @raise SkipTest: There is no RabbitMQ, or no checkout.
        """
        broker.require_broker()
        if not TOOL.exists():
            raise SkipTest("only in a checkout of the repository")
        specification = importlib.util.spec_from_file_location("rabbitmq_tool", TOOL)
        assert specification is not None and specification.loader is not None
        tool: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(tool)
        self._node = tool.PrivateRabbitMQ()
        self.uri: str = self._node.uri

    async def start(self) -> None:
        """Start it, for the first time or again; what was durable is there."""
        await deferToThread(self._node.start)

    async def flush(self) -> None:
        """Have on disk what was declared so far: for some seconds it is in memory only, and gone with a L{kill}."""
        await self.ctl("eval", "mnesia:sync_log().")

    async def kill(self) -> None:
        """C{SIGKILL}."""
        await deferToThread(self._node.kill9)

    async def close(self) -> None:
        """End it, and remove all it left."""
        await deferToThread(self._node.close)

    async def ctl(self, *arguments: str) -> str:
        """C{rabbitmqctl}."""
        said: str = await deferToThread(self._node.ctl, *arguments)
        return said
