# The one entry point: `make` alone lists what there is. Needs make, git and Python 3.11 or newer; everything
# else goes into .venv, which the first target that needs it creates.

.DEFAULT_GOAL := help

# The first Python on the path that is new enough; PYTHON=/path/to/python decides otherwise.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(or $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(name)))),python3)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := src tests tools benchmarks examples

# Test processes at a time, on two cores: many tests wait for another process, so one more than cores, and not many
# more, since each collects all tests by itself.
JOBS ?= 3
# The same for the slow tests: they start servers of their own and load them, and more would only add noise.
SLOW_JOBS ?= 2
# How long each target is fuzzed, and the seed of the mutations; 0 = another one each time.
SECONDS ?= 60
SEED ?= 0
# What to add to the command of a target: make run ARGS=--help, make unit ARGS='-k cron'.
ARGS ?=

.PHONY: help setup run persist demo test ci faults browser fuzz bench fmt lint types tidy unit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv with everything in it (the other targets do it when needed)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	  echo "FlashQ needs Python 3.11 or newer; '$(PYTHON)' is not. Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot create virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, and again when pyproject.toml changes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(INSTALLED) ## start a server on 127.0.0.1:6789, data in flashq-data/
	$(BIN)/flashq serve $(ARGS)

persist: $(INSTALLED) ## the same with PostgreSQL: that of DATABASE_URL, else one of its own in flashq-postgres/
	$(BIN)/python -m tools.persist $(ARGS)

demo: $(INSTALLED) ## run the example: a census of the standard library as jobs
	$(BIN)/python examples/stdlib_census/demo.py $(ARGS)

test: $(INSTALLED) ## run all tests but the slow ones (under five minutes)
	$(BIN)/pytest -n $(JOBS) -m "not slow" $(ARGS)

# Where CI is set nothing may be skipped for want of a tool: the fault tests fail instead.
ci: export FLASHQ_REQUIRE_CHAOS := $(if $(CI),1,)
ci: lint types tidy faults browser ## run everything that must hold before a merge
	$(BIN)/pytest -n $(SLOW_JOBS) --dist worksteal --ignore=tests/tidy -m "not alone" $(ARGS)
	$(BIN)/pytest -m alone $(ARGS)
	@$(MAKE) --no-print-directory fuzz

FAULT_TOOLS := strace mount umount mkfs.ext4 unshare nsenter setpriv prlimit faketime systemd-analyze

faults: ## install what the fault tests use (by Debian's packages, as root), or say what is missing
	@for tool in $(FAULT_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -z "$$missing" ] || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends strace mount e2fsprogs util-linux faketime systemd; } || \
	  echo "missing:$$missing; the tests that cut the power, make a disk fail, set a clock or judge a unit will skip (or fail, where CI is set)"

browser: ## install what the tests of the page use (Chromium, by Debian's packages, as root), or say what is missing
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || \
	  echo "Chromium is missing: the tests of the page in a browser will skip (or fail, where CI is set)"

fuzz: $(INSTALLED) ## feed every parser what nobody would write: SECONDS=60 for each of them, SEED=another one each time
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

bench: $(INSTALLED) ## measure; docs/benchmarks.md tells what and how
	$(BIN)/python -m benchmarks $(ARGS)

fmt: $(INSTALLED) ## format the code and repair what can be repaired
	$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	$(BIN)/ruff format $(SOURCES)

lint: $(INSTALLED) ## check style and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(INSTALLED) ## check types, strictly
	$(BIN)/mypy

tidy: $(INSTALLED) ## check layers, forbidden calls, the mirror of tests, and that the docs are complete
	$(BIN)/pytest tests/tidy $(ARGS)

unit: $(INSTALLED) ## run the unit tests only
	$(BIN)/pytest tests/unit $(ARGS)

clean: ## remove what these targets made; never touches flashq-data/ and flashq-postgres/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
