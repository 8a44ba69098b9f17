"""
Connect with TLS, and with a client certificate where the broker asks for one.

Arguments: host and port of the broker, the file of the CA that vouches for it, and the file of the program's own
certificate and key. User and password come from the environment.
"""

import os
import sys

from twisted.internet.task import react

import txpika


async def main(reactor: object, host: str, port: str, cafile: str, certfile: str) -> None:
    parameters = txpika.ConnectionParameters(
        host,
        int(port),
        credentials=txpika.PlainCredentials(os.environ["BROKER_USER"], os.environ["BROKER_PASSWORD"]),
        tls=txpika.TLSOptions(cafile=cafile, certfile=certfile),
    )
    try:
        connection = await txpika.connect(parameters, reactor)
    except txpika.exceptions.TLSVerifyError as error:
        print(f"not our broker: {error}")
        return
    print("connected to", connection.server_properties["product"])
    await connection.close()


react(main, sys.argv[1:])
