# Every target installs what it needs into .venv first. The README names `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help train test test-integrations lint types tests soak bench format clean
.DEFAULT_GOAL := help

help:
	@echo "make train   install, and train a small transformer on Python's own source (1 to 2 minutes)"
	@echo "make test    install, and run lint, types and tests"
	@echo "make bench   measure speed as ratios against other systems (half an hour; NANOGPT=PATH for a clone of it)"
	@echo "make test-integrations   install Lightning, Keras, trackers and their kind, and run what needs them"

train: $(VENV)/train.done
	$(BIN)/lehr train

test: lint types tests

test-integrations: $(VENV)/integrations.done
	$(BIN)/python -m pytest -n auto tests/integrations

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.done
	$(BIN)/mypy

tests: $(VENV)/dev.done
	$(BIN)/python -m pytest -n auto

soak: $(VENV)/dev.done
	$(BIN)/python tests/soak.py

# with a clone of karpathy/nanoGPT, and tiny Shakespeare: make bench NANOGPT=PATH TEXT=FILE
bench: $(VENV)/dev.done
	$(BIN)/python benchmarks/schedules.py
	$(BIN)/python benchmarks/optimizer.py
	$(BIN)/python benchmarks/training.py $(if $(NANOGPT),--nanogpt $(NANOGPT))
	$(BIN)/python benchmarks/trainer.py
	$(BIN)/python benchmarks/memory.py $(if $(NANOGPT),--nanogpt $(NANOGPT))
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/generation.py
	$(if $(and $(NANOGPT),$(TEXT)),$(BIN)/python benchmarks/shakespeare.py --nanogpt $(NANOGPT) --text $(TEXT))

format: $(VENV)/dev.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lehr needs Python 3.11 or newer; write make PYTHON=python3.12 train, say" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/train.done: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..."
	$(PIP) -e '.[train]'
	@touch $@

$(VENV)/dev.done: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..."
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/integrations.done: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..."
	$(PIP) -e '.[dev,dev-integrations]'
	@touch $@
