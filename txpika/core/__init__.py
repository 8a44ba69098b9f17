"""
The protocol engine: bytes in, bytes out, one for every loop.

Nothing here knows Twisted, a socket, a reactor or a thread. The engine is handed a transport and a clock (see
L{txpika.interfaces}) and answers calls through completions.
"""
