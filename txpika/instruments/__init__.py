# -*- test-case-name: txpika.test.test_prometheus -*-
"""
Instruments for what others read: one module each, which needs the extra of the same name.

They know the events of L{txpika.interfaces.IInstrument}; nothing of loops, Deferreds or the engine.
"""
