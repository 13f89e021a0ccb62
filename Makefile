PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help train test test-all lint types bench clean

help: ## Show these lines
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: $(READY) ## Train the embedded default with RLSD (about a minute on two cores)
	$(BIN)/rlsd train --mode rlsd

test: $(READY) ## Run the tests that need neither GPU nor network
	$(BIN)/python -m pytest

test-all: $(READY) ## Run the slow tests too (minutes; some download a model)
	$(BIN)/python -m pytest -m 'not gpu and not vllm'

lint: $(READY) ## Check style and import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## Check types
	$(BIN)/mypy

bench: $(READY) ## Run the benchmarks; tables on the terminal, JSON in benchmarks/results
	set -e; for leg in benchmarks/bench_*.py; do $(BIN)/python $$leg; done

clean: ## Remove the environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
