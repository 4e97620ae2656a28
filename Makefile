# memops: make help lists what can be made. Needs Python 3.11 or newer; make PYTHON=/path/to/python3 names one.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first of these that is new enough.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help demo test test-faults setup lint bench screenshots clean chromium

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## the console, with an embedded PostgreSQL, demo data and logins; Ctrl-C ends it
	@exec $(BIN)/python manage.py memops demo

test: $(INSTALLED) chromium  ## every test, on embedded PostgreSQL servers of their own
	@exec $(BIN)/python -m tests

test-faults: $(INSTALLED)  ## kill everything, 200 times at random moments, and see whether anything was lost
	@RANDOM_KILLS=$${RANDOM_KILLS:-200} LOAD_RUNS=$${LOAD_RUNS:-200} EVERY_PLACE=yes exec $(BIN)/python -m pytest tests/faults

setup: $(INSTALLED)  ## the virtual environment .venv, with everything in it

lint: $(INSTALLED)  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(INSTALLED)  ## measure rollbacks, proof and the stall of readers; takes some minutes
	@exec $(BIN)/python -m tests.bench

screenshots: $(INSTALLED) chromium  ## the pictures of the README
	@exec $(BIN)/python -m tests.screenshots

clean:  ## remove the virtual environment and all state, backups included
	@[ ! -x $(BIN)/python ] || $(BIN)/python -c "from pathlib import Path; from project import embedded; \
		[embedded.stop(pid.parent.parent) for pid in Path('.memops').glob('**/pgdata/postmaster.pid')]"
	@rm -rf .venv .memops .mypy_cache .ruff_cache .pytest_cache .hypothesis test-results

# The stamp is written last: an interrupted set-up is begun again.
$(INSTALLED): requirements.txt tests/requirements.txt
	@[ -n "$(PYTHON)" ] || { echo "memops needs Python 3.11 or newer, and there is none in the PATH. Install it, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv; $(PYTHON) -m venv .venv || { rm -rf .venv; echo "The virtual environment could not be made; on Debian: apt-get install python3-venv." >&2; exit 1; }; }
	@echo "Installing requirements into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@

# Browser tests need a Chromium. It is installed where that is possible without asking; elsewhere they are skipped, loudly.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null; } || \
		echo "CHROMIUM COULD NOT BE INSTALLED: the browser tests will be skipped." >&2; \
	else \
		echo "THERE IS NO CHROMIUM: the browser tests will be skipped. On Debian: apt-get install chromium." >&2; \
	fi
