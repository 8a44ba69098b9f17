# Everything here needs Python 3.11 or later with venv and pip, git and make; the rest is fetched into .venv.
#
#   make demo     publish and consume 20,000 messages on txpika's broker in memory, or on the one that TXPIKA_URI names
#   make test     all tests, against a private RabbitMQ; TRIALFLAGS and TESTS choose (make test TESTS=txpika.test.test_uri)
#   make lint     ruff, mypy, import-linter, and whether generated code is up to date
#   make bench    what a message costs, beside six other clients, for docs/performance.rst; takes half an hour
#   make bench-quick   the main scenarios of it, in under two minutes; BENCHFLAGS chooses in both (BENCHFLAGS=--help)
#   make format   let ruff format the code
#   make spec     regenerate the codec from its table of facts
#   make clean    remove .venv and everything built

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
TESTS := txpika benchmarks
TRIALFLAGS :=
BENCHFLAGS :=

# Runs whatever follows with a RabbitMQ node of its own.
WITH_RABBITMQ := $(BIN)/python tools/rabbitmq.py run --

# The client in C to compare with, where it can be installed; without it the page says that it is missing.
ENSURE_RABBITMQ_C := [ -e /usr/include/amqp.h ] || sh tools/install_packages.sh librabbitmq-dev gcc libc6-dev >/dev/null || true

# Two installs into one venv at a time would trip over each other.
.NOTPARALLEL:
.PHONY: help demo demo-rabbitmq test lint bench bench-quick format spec venv clean check-install

help:
	@sed -n 's/^#   //p' Makefile

ifdef TXPIKA_URI
# As it was given: make would take a $ in it for one of its own variables.
demo: override export TXPIKA_URI := $(value TXPIKA_URI)
endif

demo: $(VENV)/.has-demo
	@$(BIN)/python tools/demo.py

# The same on a private RabbitMQ.
demo-rabbitmq: $(VENV)/.has-demo
	@$(BIN)/python tools/rabbitmq.py ensure
	@$(WITH_RABBITMQ) $(BIN)/python tools/demo.py

# One test compares our facts with the protocol's own XML; where that cannot be installed, it says so and is skipped.
test: $(VENV)/.has-dev
	@$(BIN)/python tools/rabbitmq.py ensure
	@[ -e /usr/share/amqp/specs ] || sh tools/install_packages.sh amqp-specs >/dev/null || true
	@$(WITH_RABBITMQ) $(BIN)/python -m twisted.trial $(TRIALFLAGS) $(TESTS)

lint: $(VENV)/.has-dev
	$(BIN)/python -m ruff check --quiet --output-format concise
	$(BIN)/python -m ruff format --quiet --check
	$(BIN)/python -m mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m txpika.spec.generate --check

# With other BENCHFLAGS the page stays as it is. Thousands of connections need as many open files.
bench: $(VENV)/.has-bench
	@$(BIN)/python tools/rabbitmq.py ensure
	@$(ENSURE_RABBITMQ_C)
	@ulimit -Sn 16384 2>/dev/null || true; \
	$(WITH_RABBITMQ) $(BIN)/python -m benchmarks $(or $(BENCHFLAGS),--page --check)

bench-quick: $(VENV)/.has-bench
	@$(BIN)/python tools/rabbitmq.py ensure
	@$(ENSURE_RABBITMQ_C)
	@$(WITH_RABBITMQ) $(BIN)/python -m benchmarks --quick $(BENCHFLAGS)

format: $(VENV)/.has-dev
	$(BIN)/python -m ruff check --quiet --fix
	$(BIN)/python -m ruff format --quiet

spec: $(VENV)/.has-dev
	$(BIN)/python -m txpika.spec.generate

venv: $(VENV)/.has-dev

# The two ways to install, each in an empty venv, and what must work there.
check-install: $(VENV)/bin/python
	@$(BIN)/python tools/check_install.py

clean:
	rm -rf $(VENV) build dist txpika.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An editable install, so that a changed file needs no other; a changed pyproject.toml does. Byte code is compiled at
# once, as pip does for what it copies.
$(VENV)/.has-%: $(VENV)/bin/python pyproject.toml
	@echo "installing txpika[$*] into $(VENV)"
	@$(PIP) install --editable '.[$*]'
	@$(BIN)/python -m compileall -q txpika
	@touch $@

# Follows the link to the interpreter, so a venv whose Python was removed is made again.
$(VENV)/bin/python:
	@sh tools/make_venv.sh $(VENV)
