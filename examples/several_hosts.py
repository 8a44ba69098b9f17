"""
Connect to any broker of a cluster. Its hosts are the arguments, each as name or as name:port.
"""

import os
import sys

from twisted.internet.task import react

import txpika


async def main(reactor: object, *arguments: str) -> None:
    hosts = [(name, int(port or "5672")) for name, _, port in (each.partition(":") for each in arguments)]
    parameters = txpika.ConnectionParameters(
        hosts=hosts,
        credentials=txpika.PlainCredentials(os.environ["BROKER_USER"], os.environ["BROKER_PASSWORD"]),
        connection_timeout=5,
        connection_name="several-hosts",
    )
    try:
        connection = await txpika.connect(parameters, reactor)
    except txpika.exceptions.ConnectFailed as error:
        for each in error.errors or [error]:
            print(each)
        return
    print("connected to", connection.server_properties["cluster_name"])
    await connection.close()


react(main, sys.argv[1:])
