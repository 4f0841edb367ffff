# Everything starts here. `make run` and `make test` need nothing but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
SETUP = $(PYTHON) requirements/install.py
# A worker takes file after file, in the order of tests/conftest.py: the longest first.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
Q ?= select * from selection.selection_summary
WORKERS ?= 2
# What may be set beside these: make run PROFILE=mine
SETTINGS := PROFILE AS_OF FORMAT OUT PORT RECIPE FILES MODEL SET CANDIDATES CHECKPOINT ASSET FROM TO NOW ROW RANK REPO \
	CONFIRM PUBLIC ALLOW_HOST PAIR TEACHER FILE ALL DATA ARGS WITH
$(foreach name,$(SETTINGS),$(eval $(name) ?=))
KNOWN := $(sort $(SETTINGS) Q WORKERS PYTHON)
GIVEN := $(sort $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
OTHERS := $(filter-out $(KNOWN) BIN SETUP,$(GIVEN))
ifneq ($(OTHERS),)
$(warning $(OTHERS): no setting of this project, only passed on as an environment variable. Its settings: $(KNOWN))
endif
# What is written in these reaches the program as it stands: make expands no `$` in it, and neither does the shell.
AS_WRITTEN := Q AS_OF FORMAT OUT REPO
$(foreach name,$(AS_WRITTEN),$(eval override $(name) := $$(value $(name))))
export $(AS_WRITTEN) PORT PAIR TEACHER FILE DATA RECIPE FILES MODEL SET CHECKPOINT ASSET FROM TO ROW RANK
export HF_HUB_DISABLE_TELEMETRY := 1
# Idle OpenMP threads sleep instead of spinning: on a few busy cores that is several times faster.
export OMP_WAIT_POLICY ?= passive
# Many container images set it; then every process, each step of a run too, would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(PROFILE),)
export REFLECTION_PROFILE := $(PROFILE)
endif

.PHONY: help setup run evaluate check profiles test fuzz soak lint ui serve export push sql trace rows versions diff report reproduce compact docs sql-readme estimate prompt export-replies import-replies export-answers bench evidence ablations scale clean
.SILENT:

help: ## this list
	awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: ## the environment, once (the others do this themselves), WITH="vllm evaluation ray checks"
	$(SETUP) $(WITH)

run: ## every asset of PROFILE (default quickstart), the checkpoints last
	$(SETUP) --profile
	$(BIN)/python -m dagster_project.commands.run

evaluate: ## the checkpoints of PROFILE and their base students: answers, judges, benchmarks, held-out losses
	$(SETUP) --profile evaluation
	$(BIN)/python -m dagster_project.commands.run --job evaluate
	$(BIN)/python -m dagster_project.commands.report

check: ## what would stop a run of PROFILE, found within seconds: files, fields, models, keys, prices, disk, PORT
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.check $(if $(PORT),--port "$$PORT")

profiles: ## the profiles there are: what each is for, what it needs
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.profiles

test: ## all tests, or what ARGS says: make test ARGS="-m 'not slow' tests/sql"
	$(SETUP) checks vllm evaluation ray team
	$(PYTEST) $(ARGS)

fuzz: ## the property tests, each with twenty times the examples, drawn at random
	$(SETUP) checks
	$(PYTEST) -m hypothesis --hypothesis-profile=fuzz $(ARGS)

soak: ## the long forms of tests that draw their cases: runs killed at many more moments
	$(SETUP) checks vllm team
	$(PYTEST) -m soak -rP $(ARGS)

lint: ## ruff, mypy
	$(SETUP) checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: ## the Dagster UI on http://127.0.0.1:PORT (3000); ALLOW_HOST="name ..." also answers to these names
	$(SETUP) --profile
	$(BIN)/python -m dagster_project.commands.ui $(if $(PORT),--port "$$PORT") --allow-host $(ALLOW_HOST)

serve: ## the checkpoint of RECIPE behind vLLM's OpenAI-compatible server, on 127.0.0.1:PORT (8000)
	$(SETUP) vllm
	$(BIN)/python -m dagster_project.commands.serve $(if $(RECIPE),"$$RECIPE") $(if $(PORT),--port "$$PORT")

EXPORTED = $(if $(RECIPE),"$$RECIPE") $(if $(FORMAT),--format "$$FORMAT") $(if $(FILES),--files "$$FILES") $(if $(filter 1,$(CANDIDATES)),--candidates)

export: ## the rows of RECIPE as a data set in a folder: make export RECIPE=name OUT=folder [FORMAT=messages|alpaca|sharegpt|preference] [FILES=jsonl] [CANDIDATES=1]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.export $(EXPORTED) $(if $(OUT),--out "$$OUT")

export-answers: ## what MODEL answered in `make evaluate`, for other judges: make export-answers MODEL=name OUT=file [FORMAT=alpaca_eval|mt_bench] [SET=name]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.export_answers $(if $(MODEL),"$$MODEL") $(if $(OUT),--out "$$OUT") $(if $(FORMAT),--format "$$FORMAT") \
		$(if $(SET),--set "$$SET")

push: ## the same to the Hugging Face hub: make push RECIPE=name REPO=owner/name [FORMAT=...] [CONFIRM=1] [PUBLIC=1]; says what it would upload, CONFIRM=1 does it
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.push $(EXPORTED) $(if $(REPO),--repo "$$REPO") $(if $(filter 1,$(CONFIRM)),--confirm) \
		$(if $(filter 1,$(PUBLIC)),--public)

sql: ## one read-only query: make sql Q="select ..." | FILE=query.sql [AS_OF=snapshot] [FORMAT=line|csv|json|jsonl|parquet] [OUT=file]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.sql $(if $(AS_OF),--as-of "$$AS_OF") $(if $(FORMAT),--format "$$FORMAT") \
		$(if $(OUT),--out "$$OUT") $(if $(FILE),--file "$$FILE",-- "$$Q")

trace: ## what happened to a pair, from its line to the checkpoints that saw it: make trace PAIR=id | FILE=seeds/pairs.jsonl ROW=23 | RECIPE=paper RANK=1
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.trace $(if $(PAIR),--pair "$$PAIR") $(if $(FILE),--file "$$FILE") $(if $(ROW),--row "$$ROW") \
		$(if $(RECIPE),--recipe "$$RECIPE") $(if $(RANK),--rank "$$RANK")

rows: ## the exact rows that a checkpoint was trained on: make rows CHECKPOINT=id-or-name-or-folder [FORMAT=csv] [OUT=file]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.rows $(if $(CHECKPOINT),"$$CHECKPOINT") $(if $(FORMAT),--format "$$FORMAT") $(if $(OUT),--out "$$OUT")

versions: ## what changed the lake, newest first: make versions [ASSET=training/paper] [FORMAT=line]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.versions $(if $(ASSET),"$$ASSET") $(if $(FORMAT),--format "$$FORMAT") $(if $(OUT),--out "$$OUT")

diff: ## how a training set changed, row by row, and why: make diff FROM=version-or-checkpoint [TO=...] [RECIPE=name]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.diff $(if $(FROM),--from "$$FROM") $(if $(TO),--to "$$TO") $(if $(RECIPE),--recipe "$$RECIPE")

report: ## pairs before and after with every statistic, in one HTML file: make report [OUT=file]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.report $(if $(OUT),--out "$$OUT")

reproduce: ## the rows of a checkpoint selected again, on the snapshot it names: make reproduce CHECKPOINT=id-or-name-or-folder
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.reproduce $(if $(CHECKPOINT),"$$CHECKPOINT")

compact: ## merge the lake's small files, expire the snapshots that no checkpoint names; NOW=1 removes files at once
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.compact $(if $(filter 1,$(NOW)),--now)

docs: ## a static site of the data: tables, columns, SQL, lineage, checks and what they found last: make docs [OUT=folder]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.docs $(if $(OUT),--out "$$OUT")

sql-readme: ## sql/README.md, made from the files of sql/
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.sql_readme

estimate: ## what a run would still ask the teachers: requests, tokens, dollars, time; asks nothing
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.teacher estimate

prompt: ## the messages about one pair: make prompt PAIR=its-id-or-the-beginning [TEACHER=name]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.teacher prompt "$$PAIR" $(if $(TEACHER),--teacher "$$TEACHER")

export-replies: ## the ledger as JSON Lines: make export-replies FILE=replies.jsonl [TEACHER=name] [ALL=1]
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.teacher export "$$FILE" $(if $(TEACHER),--teacher "$$TEACHER") $(if $(ALL),--all)

import-replies: ## such a file into the ledger of PROFILE: make import-replies FILE=replies.jsonl
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.teacher import "$$FILE"

bench: ## the benchmarks, as ratios in one run
	$(SETUP) checks vllm ray
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

evidence: ## what each statistic can see, into docs/evidence.md: make evidence DATA=folder-of-expert_revisions.jsonl (half an hour)
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.evidence "$$DATA" $(ARGS)

ablations: ## whether selection makes a better student, into docs/evidence.md: make ablations DATA=folder-of-expert_revisions.jsonl (hours)
	$(SETUP) evaluation
	$(BIN)/python -m dagster_project.commands.ablations "$$DATA" $(ARGS)

scale: ## what more pairs take, into docs/scale.md: cards, hours, dollars, storage, of docs/scale/rates.yaml
	$(SETUP)
	$(BIN)/python -m dagster_project.commands.scale $(ARGS)

clean: ## remove the quickstart's warehouse, keep those of other profiles and the environment
	rm -rf warehouse/quickstart
