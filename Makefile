# Needs make and Python 3.11 or 3.12, nothing else. Everything is installed into .venv.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
# The first supported Python on this machine. To choose another: make test PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check install --quiet --only-binary=:all: \
	--constraint constraints.txt

# Options of `make bench`, such as BENCH=--quick
BENCH ?=

.PHONY: help install demo bench test check lint types unit wheel-check clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: install  ## install, then run the demonstration; it writes runs/demo
	.venv/bin/nisqkit demo

bench: install  ## time nisqkit and its peers; BENCH=--quick for a short look; see docs/benchmarks.md
	.venv/bin/python benchmarks/run.py all $(BENCH)

test: check wheel-check  ## install, then run every check there is

install: .venv/.installed  ## install everything, with all extras, into .venv

.venv/.installed: pyproject.toml setup.py constraints.txt
	@'$(PYTHON)' -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "nisqkit needs Python 3.11 or 3.12 and found $(or $(PYTHON),neither on PATH)." >&2; \
		echo "Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
		exit 1; }
	@echo "Installing into .venv, which takes some minutes the first time."
	test -x .venv/bin/python || '$(PYTHON)' -m venv .venv
	$(PIP) torch setuptools
	$(PIP) --no-build-isolation --editable '.[all]'
	@touch $@

check: lint types unit  ## lint, types and tests, in .venv

lint: install  ## ruff, and who may import whom
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports --no-logo

types: install  ## mypy (strict) and pyright
	tools/link_types.sh
	.venv/bin/mypy
	.venv/bin/pyright

unit: install  ## pytest, with the examples in docstrings, README.md and examples/
	.venv/bin/pytest -n 2 --dist loadfile -m "slow or not slow"

wheel-check: install  ## build the wheel and use it without extras, away from the checkout
	tools/wheel_check.sh

clean:  ## remove the environment, builds and caches; results in runs/ stay
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache benchmarks/.venvs benchmarks/.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
