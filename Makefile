# Everything here works from a fresh clone with Python 3.11-3.13 and make alone.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# To compile all that is installed takes minutes; Python compiles what is imported, once.
INSTALL := $(PIP) install --quiet --no-compile
# Files of tests run side by side; each has its own Ray, PostgreSQL and Chromium.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-gpu faults e2e check format bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-11s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## train the laptop-size main job and draw figure 1; again: draw it anew
	$(BIN)/scalelab run specs/facts_vs_params.yaml
	$(BIN)/scalelab report --fig 1

test: $(VENV)/.installed-for-tests ## the fast tests
	$(PYTEST)

test-slow: $(VENV)/.installed-for-tests ## the slow tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

test-gpu: $(VENV)/.installed-for-tests ## the tests that need a GPU
	$(BIN)/pytest -m gpu

faults: $(VENV)/.installed-for-tests ## kill, stop, fill and take away whatever a run rests on
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow or not slow" tests/faults tests/run/test_processes.py tests/run/test_kill.py tests/train/test_checkpoint.py tests/store/test_cleaning.py

e2e: $(VENV)/.installed-for-tests ## a small run of the main job, with its numbers asserted
	$(BIN)/python tests/e2e.py

check: $(VENV)/.installed-for-tests ## lint, formatting, types and the layers of rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-for-tests ## format the code and mend what lint can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-for-tests ## run every benchmark (docs/benchmarks.md tells what they measure)
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

# The pins stay as they are where they still fit; `make lock UPGRADE=--upgrade` moves them all. The
# first lock, which has everything, decides for the second; what is for a Python beyond those that
# are supported is left out.
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --config-file requirements.uv.toml pyproject.toml
lock: $(VENV)/.installed-for-tests ## pin the dependencies of pyproject.toml in the two requirements files
	$(INSTALL) uv
	$(COMPILE) --extra streaming --group test --output-file requirements-test.lock
	$(COMPILE) --constraint requirements-test.lock --output-file requirements.lock
	@for file in requirements-test.lock requirements.lock; do grep -v "python_full_version >= '3.14'$$" $$file > $$file.part && mv $$file.part $$file; done

clean: ## remove what installing, testing and building left; results and reports stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' || { echo 'scalelab needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing the pinned requirements: a minute, or as long as the download takes'
	$(INSTALL) --requirement requirements.lock
	$(INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.installed-for-tests: requirements-test.lock $(VENV)/.installed
	$(INSTALL) --requirement requirements-test.lock
	@touch $@
