"""
A consumer as a Twisted application: C{twistd -ny consumer.tac}, with TXPIKA_URI in the environment.

Calls C{handle} of worker.py, beside this file, with each message of the queue "work".
"""

from twisted.application.service import Application

from txpika.tap import Options, makeService

options = Options()
options.parseOptions(["--queue", "work", "--handler", "worker.handle", "--declare", "topology.toml"])
application = Application("worker")
makeService(options).setServiceParent(application)
