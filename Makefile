# From a fresh clone: `make train` trains the demo, `make test` runs what CI runs.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps
JOB_DIR ?= runs/SoftMoEFashionMnist

.PHONY: env env-dev train test test-slow golden lint format clean

env: $(VENV)/.installed
env-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(UV) --require-hashes -r requirements.lock
	$(UV) --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock requirements-tpu.lock
	$(UV) --require-hashes -r requirements-dev.lock
	$(UV) --require-hashes --target $(VENV)/libtpu -r requirements-tpu.lock
	touch $@

train: env
	$(BIN)/softmoe train SoftMoEFashionMnist --job_dir=$(JOB_DIR)

test: env-dev
	$(BIN)/python -m pytest -q

test-slow: env-dev
	$(BIN)/python -m pytest -q -m "slow and not tpu"

# Records what every experiment is, after a change that is meant.
golden: env-dev
	$(BIN)/python tests/test_golden_experiments.py

lint: env-dev
	$(BIN)/ruff check pax_softmoe experiments tools tests
	$(BIN)/pyink --check --quiet pax_softmoe experiments tools tests

format: env-dev
	$(BIN)/pyink --quiet pax_softmoe experiments tools tests

clean:
	rm -rf $(VENV) build dist *.egg-info
