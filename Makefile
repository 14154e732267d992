# From a fresh clone: `make train` trains the demo, `make test` runs what CI runs.

VENV ?= .venv
PYTHON ?= $(shell .ci/find_python 3.11 3.12)
# For the tests on other versions; give the path of one that is not found.
PYTHON310 ?= $(shell .ci/find_python 3.10)
PYTHON312 ?= $(shell .ci/find_python 3.12)
# For the newest jax: make test-new NEW=.venv-313 PYTHON_NEW=/path/to/python3.13
PYTHON_NEW ?= $(shell .ci/find_python 3.11 3.12 3.13)
NEW ?= .venv-new
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps
JOB_DIR ?= runs/SoftMoEFashionMnist
# What make test-new-core runs.
NEW_CORE := tests/test_routing.py tests/test_routing_sparse.py \
	tests/layers/test_soft_moe.py tests/hlo tests/test_compat.py \
	tests/test_startup.py tests/test_stacks.py tests/test_cuda.py \
	tests/sharding/test_sharding_equality.py tests/tpu/test_libtpu.py \
	tests/tuning/test_compile_step.py::test_step_for_four_tpus \
	tests/test_paxml_main.py::test_train_reports_accuracy_and_where_everything_is
# What make test-pins runs; the TPU compiler is none of Pax' own pins.
PINS_TESTS ?= -m "not tpu and not slow and not libtpu"
PINS_CORE := tests/test_routing.py tests/layers/test_soft_moe.py \
	tests/test_paxml_main.py::test_train_reports_accuracy_and_where_everything_is

# A start compiles thousands of modules of the libraries if it may not keep them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: env env-dev env-gpu env-new env-pins train test test-slow test-new \
	test-new-core test-pins test-pins-core test-312 bazel-test golden lint format docs clean

env: $(VENV)/.installed
env-dev: $(VENV)/.installed-dev
env-new: $(NEW)/.installed
env-gpu: .venv-gpu/.installed
env-pins: .venv-pins/.installed

# $(call make-env,FOLDER,PYTHON,VERSION,VARIABLE,LOCK)
define make-env
	$(if $(2),,$(error no Python $(3) that runs was found; install one \
	  (`pyenv install $(3)` or `uv python install $(3)`) or give the path of \
	  one: make $(4)=/path/to/python))
	$(2) -m venv $(1)
	$(1)/bin/python -m pip install --quiet uv==0.13.9
	$(1)/bin/uv pip install --quiet --python $(1)/bin/python --no-deps \
	  --require-hashes -r $(5)
	$(1)/bin/uv pip install --quiet --python $(1)/bin/python --no-deps \
	  --no-build-isolation -e .
endef

$(VENV)/.installed: requirements.lock setup.cfg
	$(call make-env,$(VENV),$(PYTHON),3.11,PYTHON,requirements.lock)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock requirements-tpu.lock
	$(UV) --require-hashes -r requirements-dev.lock
	$(UV) --require-hashes --target $(VENV)/libtpu -r requirements-tpu.lock
	touch $@

.venv-pins/.installed: requirements-pins.lock setup.cfg
	$(call make-env,.venv-pins,$(PYTHON310),3.10,PYTHON310,requirements-pins.lock)
	touch $@

$(NEW)/.installed: requirements-new.lock requirements-dev.lock \
		requirements-tpu-new.lock setup.cfg
	$(call make-env,$(NEW),$(PYTHON_NEW),3.11,PYTHON_NEW,requirements-new.lock)
	$(NEW)/bin/uv pip install --quiet --python $(NEW)/bin/python \
	  --no-deps --require-hashes -r requirements-dev.lock
	$(NEW)/bin/uv pip install --quiet --python $(NEW)/bin/python \
	  --no-deps --require-hashes --target $(NEW)/libtpu \
	  -r requirements-tpu-new.lock
	touch $@

# For NVIDIA GPUs. With CUDA of requirements-gpu.lock:
# make env-gpu GPU_BASE=requirements.lock GPU_LOCK=requirements-gpu.lock
GPU_BASE ?= requirements-new.lock
GPU_LOCK ?= requirements-gpu-new.lock

.venv-gpu/.installed: $(GPU_BASE) $(GPU_LOCK) requirements-dev.lock setup.cfg
	$(call make-env,.venv-gpu,$(PYTHON_NEW),3.11,PYTHON_NEW,$(GPU_BASE))
	.venv-gpu/bin/uv pip install --quiet --python .venv-gpu/bin/python \
	  --no-deps --require-hashes -r $(GPU_LOCK) -r requirements-dev.lock
	touch $@

.venv-312/.installed: requirements.lock requirements-dev.lock setup.cfg
	$(call make-env,.venv-312,$(PYTHON312),3.12,PYTHON312,requirements.lock)
	.venv-312/bin/uv pip install --quiet --python .venv-312/bin/python \
	  --no-deps --require-hashes -r requirements-dev.lock
	touch $@

train: env
	$(BIN)/softmoe train SoftMoEFashionMnist --job_dir=$(JOB_DIR)

test: env-dev
	$(BIN)/python -m pytest -q

test-slow: env-dev
	$(BIN)/python -m pytest -q -m "slow and not tpu"

# On jax 0.10.2: what CI runs of it, and everything.
test-new-core: env-new
	$(NEW)/bin/python -m pytest -q $(NEW_CORE)

test-new: env-new
	$(NEW)/bin/python -m pytest -q

# On Pax' own pins: Python 3.10 and jax 0.4.26.
test-pins: env-pins
	.venv-pins/bin/python -m pytest -q -rs $(PINS_TESTS)

test-pins-core: env-pins
	.venv-pins/bin/python -m pytest -q $(PINS_CORE)

test-312: .venv-312/.installed
	.venv-312/bin/python -m pytest -q -m "not tpu and not slow and not libtpu"

# Builds every target of the BUILD files and tests a few of them.
bazel-test: env-dev
	bazel/install
	SOFTMOE_PYTHON=$(abspath $(BIN)/python) bazel/test

# Records what every experiment is, after a change that is meant.
golden: env-dev
	$(BIN)/python tests/test_golden_experiments.py
	$(BIN)/python -m pax_softmoe.bench.make_settings_page

lint: env-dev
	$(BIN)/ruff check pax_softmoe experiments tools tests bazel
	$(BIN)/pyink --check --quiet pax_softmoe experiments tools tests bazel
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/shellcheck pax_softmoe/launch/*.sh .ci/* bazel/install bazel/test

format: env-dev
	$(BIN)/pyink --quiet pax_softmoe experiments tools tests bazel

# The site, in build/site. Search needs a server: python -m http.server.
docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet

.venv-docs/.installed: requirements-docs.lock $(VENV)/.installed
	$(PYTHON) -m venv .venv-docs
	$(BIN)/uv pip install --quiet --python .venv-docs/bin/python --no-deps \
		--require-hashes -r requirements-docs.lock
	touch $@

clean:
	rm -rf $(VENV) .venv-docs .venv-gpu .venv-new .venv-pins .venv-312 build dist *.egg-info
