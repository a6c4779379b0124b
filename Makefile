# make test    create the environment if need be, and run the tests
# make demo    cluster a small data set and draw it: DATA=cells.h5ad LABELS=cell_type for your own
# make galaxy  write the Galaxy wrappers anew from the parameters
# make benchmark   compare all methods on labelled data; QUICK=1 for minutes, PEERS="NAME=PYTHON ..." for peers
# make docs, make lint, make clean

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV ?= .venv
DATA ?=
LABELS ?=
QUICK ?=
PEERS ?=
# Processes of the tests: one for each core, four at most.
WORKERS ?= auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready-docs
READY_LINT := $(VENV)/.ready-lint

.DELETE_ON_ERROR:
.PHONY: help setup test demo galaxy docs lint benchmark clean

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

setup: $(READY)

# `--group` needs pip 25.1, which a new environment of Python 3.11 does not bring.
$(READY): pyproject.toml constraints.txt
	@echo "environment: $(VENV) ($$($(PYTHON) --version)); the first time takes a few minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@echo "  torch"
	@$(PIP) install --constraint constraints.txt torch
	@echo "  scdeepclust and what it needs"
	@$(PIP) install --constraint constraints.txt --editable . --group test
	@touch $@

$(READY_DOCS): $(READY)
	@echo "  sphinx"
	@$(PIP) install --constraint constraints.txt --group doc
	@touch $@

$(READY_LINT): $(READY)
	@$(PIP) install --constraint constraints.txt ruff
	@touch $@

test: $(READY)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadgroup

demo: $(READY)
	@$(BIN)/python scripts/demo.py $(if $(DATA),--data "$(DATA)") $(if $(LABELS),--labels "$(LABELS)")

galaxy: $(READY)
	@$(BIN)/python -m scdeepclust.galaxy galaxy

docs: $(READY_DOCS)
	@$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(READY_LINT)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

benchmark: $(READY)
	@$(BIN)/python benchmarks/clustering.py $(if $(QUICK),--quick) $(addprefix --peer ,$(PEERS))

clean:
	@rm -rf $(VENV) build dist demo docs/_build docs/generated docs/_api.md .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml
	@find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
