# -*- test-case-name: txpika.test.test_packaging -*-
"""
What C{twist} and C{twistd} find of txpika. The service makers come here together with the service.

Twisted imports this file whenever it looks for any plugin, so it imports nothing heavy and never a reactor. The folders
above it must not have an C{__init__.py}.
"""

__all__: list[str] = []
