# Everything starts here. `make run` and `make test` need nothing but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
PROFILE ?=
AS_OF ?=
Q ?= select * from selection.selection_summary
PORT ?= 3000
export PYTHONPATH := $(CURDIR)
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HF_HUB_DISABLE_TELEMETRY := 1
# Idle OpenMP threads sleep instead of spinning: on a few busy cores that is several times faster.
export OMP_WAIT_POLICY ?= passive
ifneq ($(PROFILE),)
export REFLECTION_PROFILE := $(PROFILE)
endif

.PHONY: help setup run test lint ui sql bench clean
.SILENT:

help: ## this list
	awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## the environment, once (run, test and the others do this themselves)
	$(PYTHON) requirements/install.py

run: setup ## every asset of PROFILE (default quickstart), the checkpoints last
	$(BIN)/python -m dagster_project.run

test: setup ## all checks and tests
	$(BIN)/python -m pytest

lint: setup ## ruff, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: setup ## the Dagster UI on http://127.0.0.1:PORT
	$(BIN)/python -c "from dagster_project.run import dagster_home; dagster_home()"
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

sql: setup ## one read-only query: make sql Q="select ..." [AS_OF=snapshot]
	$(BIN)/python -m dagster_project.sql_console "$$Q" $(if $(AS_OF),--as-of $(AS_OF))

bench: setup ## the benchmarks, as ratios in one run
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove the quickstart's warehouse and Dagster's records, keep the environment
	rm -rf warehouse .dagster
export Q
