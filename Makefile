# Two commands do all: `make demo` and `make test`. Both install what is missing first (see .ci/setup).
.DEFAULT_GOAL := help
.PHONY: help setup demo up down status test lint unit services soak bench bench-engine bench-latency bench-slurm bench-results clean

BIN := .venv/bin

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## install what is missing: Debian packages, and everything else into .venv
	@.ci/setup

demo: setup ## the whole mission on this machine with real servers, then everything is stopped
	@$(BIN)/cvmfs-cloud demo

up: setup ## start the stack and keep it running
	@$(BIN)/cvmfs-cloud stack up

down: ## stop the stack; its data stay in .stack
	@$(BIN)/cvmfs-cloud stack down

status: ## what runs, and where
	@$(BIN)/cvmfs-cloud stack status

test: lint unit services ## everything that must hold

lint: setup ## format, style, types, rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## tests that need no server
	$(BIN)/pytest -q tests --ignore=tests/services

services: setup ## tests against the real RadosGW, RabbitMQ and OpenBao that they start
	$(BIN)/pytest -q tests/services

soak: setup ## the long soak, about an hour: SOAK="--seed 7 --operations 5000" for other options
	$(BIN)/python -m tests.soak $(SOAK)

# `make bench engine`: words after bench choose what is measured, and are no targets of their own.
BENCHES := engine latency
ifeq ($(firstword $(MAKECMDGOALS)),bench)
CHOSEN := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
$(if $(filter-out $(BENCHES),$(CHOSEN)),$(error bench knows $(BENCHES), not $(filter-out $(BENCHES),$(CHOSEN))))
.PHONY: $(CHOSEN)
$(CHOSEN): bench
	@:
endif

bench: $(addprefix bench-,$(or $(CHOSEN),$(BENCHES))) ## measure all, or what follows: make bench engine; writes hpc-bench/results

bench-engine: setup
	$(BIN)/python hpc-bench/engine.py $(BENCH_OPTIONS)

bench-latency: setup
	$(BIN)/python hpc-bench/latency.py $(BENCH_OPTIONS)

bench-slurm: setup ## the bench's smallest scenario through a real Slurm on this machine, with a report
	$(BIN)/python hpc-bench/run.py run smoke --site one-vm

bench-results: setup ## every committed result of the bench again, three quarters of an hour on a quiet machine
	$(BIN)/python hpc-bench/results.py

clean: ## remove everything that the targets above made
	-@test ! -x $(BIN)/cvmfs-cloud || $(BIN)/cvmfs-cloud stack down
	rm -rf .venv .stack .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
