# -*- test-case-name: benchmarks.test -*-
"""
What a message costs the client: txpika beside other libraries, against one RabbitMQ, in one run.

C{python -m benchmarks} (C{make bench} installs the others and starts a RabbitMQ for it) prints CPU, wall clock and
memory, and what became of our promises. It needs C{TXPIKA_TEST_URI} or C{TXPIKA_URI}, measures what it finds installed,
and rabbitmq-c where there are a C compiler and the headers of C{librabbitmq}. How it measures, and why that is fair, is
told on the page it makes: C{docs/performance.rst}.

Where to find what:

  - L{benchmarks.scenarios}: what is measured and promised, one file each. To add one, add a file;
  - L{benchmarks.clients}: the libraries, one measuring program each, and L{benchmarks.clients.base} with what they
    share. To add one, add a file and a line in L{benchmarks.clients.PROGRAMS}, and name it in the scenarios;
  - L{benchmarks.scenario}: the vocabulary of both;
  - L{benchmarks.measure}: what a measuring process is told, and its meter; L{benchmarks.peers} starts them;
  - L{benchmarks.broker}: queues for them; L{benchmarks.rounds}: who is measured when;
  - L{benchmarks.figures}: medians, ratios, verdicts; L{benchmarks.tables}, L{benchmarks.plot}, L{benchmarks.page}:
    what is made of them; C{results.json}: those of the last whole run;
  - L{benchmarks.memory_broker}: the broker in memory, which is no client.
"""
