# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
What a message costs the client: txpika beside pika and rabbitmq-c, against one RabbitMQ, in one run.

C{python -m benchmarks} (C{make bench} starts a RabbitMQ for it) prints user and system CPU of the client process and
wall clock, both a message, and the ratios. It needs C{TXPIKA_TEST_URI} or C{TXPIKA_URI}, and measures rabbitmq-c where
a C compiler and the headers of C{librabbitmq} are installed.

How it measures:

  - Each figure comes from a fresh process that connects, warms up, then takes C{getrusage} and the monotonic clock
    around N messages. A round measures each library once, in an order that rotates from round to round; the table shows
    medians over the rounds, and ratios of these medians.
  - Each measurement has a fresh durable classic queue, and for consuming it is filled first by another process.
    Messages are transient, and all of a process share one properties object with C{delivery_mode} 1.
  - Publishing ends when the broker has answered a passive declare that was sent behind the last message on the same
    channel, acknowledging likewise: socket writes are inside the figures. Then the queue is looked at: what should have
    arrived, or have been acknowledged, must be, or the run fails.
  - Each library is used through its ordinary API with its ordinary settings: frames of 131,072 bytes, heartbeats as
    RabbitMQ offers them, logging off. Consumers prefetch 1,000 messages and acknowledge one by one; what a library
    itself makes of that on the wire is its own merit. Confirmed publishing keeps 256 messages outstanding.
  - txpika runs C{async def} code on the default reactor and awaits each publish. Of pika the adapter with the least CPU
    in each scenario is shown: the first round tries all, the rest goes on with those near the best. C{--quick} takes
    the adapter that was best before. Where memory is measured pika is represented by its blocking adapter, the only one
    that paces who publishes.
  - Growth of a process is its highest resident size after connecting, less its resident size just after connecting.
    "Of Python" is what tracemalloc saw at most, in a run of its own.

Where to find what: L{benchmarks.scenarios} what is measured, and the limits; C{with_*.py} and C{rabbitmq_c.c} one
measuring process a library; L{benchmarks.measure} the part these share; L{benchmarks.peers} starts them;
L{benchmarks.report} medians, ratios, tables; C{__main__} the rounds.
"""
