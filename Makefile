# Two commands do everything: `make demo` and `make test`. They need Python 3.11+, git and make.

PYTHON ?= python3
VENV   ?= .venv
# JAX has the smallest wheel of the three; `make demo BACKEND=torch` or `BACKEND=tensorflow` work too.
BACKEND ?= jax
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest -q
BACKENDS := torch tensorflow jax
# Most of the time of the quick tests on JAX is compilation; the slow ones run what users run.
XLA_QUICK := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
# `make nightly` makes an environment of its own: the newest release of every dependency, and
# keras-nightly in the place of keras. For another build of torch: `make nightly TORCH=torch==2.13.0`.
NIGHTLY_VENV ?= .venv-nightly
NIGHTLY_PIP  := $(NIGHTLY_VENV)/bin/python -m pip --disable-pip-version-check
TORCH ?= torch
# torch's waiting threads spin otherwise, and slow down whatever runs beside them.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow test-nightly nightly lint types docs bench clean help

help:
	@echo "make demo       install into $(VENV), train the comparison on scikit-learn's digits (no network data)"
	@echo "make test       install all extras, run the tests on TensorFlow, PyTorch and JAX"
	@echo "make test-slow  the tests marked slow, on the three backends"
	@echo "make test-nightly  the quick tests with keras-nightly and the newest backends, in $(NIGHTLY_VENV)"
	@echo "make lint types docs   ruff; pyright; the documentation into site/"
	@echo "make bench      the benchmarks, on the three backends (minutes)"

demo: $(VENV)/.installed-$(BACKEND)
	@rm -rf build/demo
	KERAS_BACKEND=$(BACKEND) $(BIN)/python experiments/cifar_sac.py --dataset digits --output-dir build/demo

# What does not depend on the backend runs with the first one.
test: $(VENV)/.installed-all
	@set -e; rest=""; for backend in $(BACKENDS); do \
	    echo "== $$backend"; \
	    XLA_FLAGS="$(XLA_QUICK)" KERAS_BACKEND=$$backend $(PYTEST) -n 2 --dist loadfile -m "not slow$$rest"; \
	    rest=" and not backend_free"; \
	done

test-slow: $(VENV)/.installed-all
	@set -e; rest=""; for backend in $(BACKENDS); do \
	    echo "== $$backend (slow)"; \
	    KERAS_BACKEND=$$backend $(PYTEST) -n 2 --dist loadfile -m "slow$$rest"; \
	    rest=" and not backend_free"; \
	done

# tensorflow requires keras, so keras-nightly comes last. Both packages write the folder `keras/`.
nightly:
	$(PYTHON) -m venv $(NIGHTLY_VENV)
	$(NIGHTLY_PIP) install --quiet --upgrade pip
	$(NIGHTLY_PIP) install --quiet --upgrade --upgrade-strategy eager -e '.[all]' '$(TORCH)'
	$(NIGHTLY_PIP) uninstall --quiet --yes keras keras-nightly
	$(NIGHTLY_PIP) install --quiet keras-nightly
	@$(NIGHTLY_PIP) list | grep -E '^(jax|keras|keras-nightly|numpy|tensorflow|torch) '

# All backends run, also after one of them failed.
test-nightly: nightly
	@failed=""; for backend in $(BACKENDS); do \
	    echo "== $$backend (keras-nightly)"; \
	    XLA_FLAGS="$(XLA_QUICK)" KERAS_BACKEND=$$backend \
	        $(NIGHTLY_VENV)/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow" || failed="$$failed $$backend"; \
	done; test -z "$$failed" || { echo "failed with keras-nightly:$$failed"; exit 1; }

lint: $(VENV)/.installed-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-all
	$(BIN)/pyright

docs: $(VENV)/.installed-all
	KERAS_BACKEND=jax $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-all
	$(BIN)/python benchmarks/bench_bases.py
	$(BIN)/python benchmarks/bench_pruning.py
	$(BIN)/python benchmarks/bench_sparsemax.py
	$(BIN)/python benchmarks/bench_deploy.py
	KERAS_BACKEND=torch $(BIN)/python benchmarks/bench_size.py
	KERAS_BACKEND=torch $(BIN)/python benchmarks/bench_formats.py
	KERAS_BACKEND=torch $(BIN)/python benchmarks/bench_damaged_files.py
	@set -e; for backend in $(BACKENDS); do \
	    KERAS_BACKEND=$$backend $(BIN)/python benchmarks/bench_sac_dense.py; \
	    KERAS_BACKEND=$$backend $(BIN)/python benchmarks/bench_compression.py; \
	done
	$(PIP) -e '.[zoo]'
	@set -e; for backend in torch tensorflow; do \
	    KERAS_BACKEND=$$backend $(BIN)/python benchmarks/bench_zoo.py; \
	done
	@set -e; for backend in $(BACKENDS); do \
	    KERAS_BACKEND=$$backend $(BIN)/python benchmarks/bench_families.py; \
	    KERAS_BACKEND=$$backend $(BIN)/python benchmarks/bench_removal.py; \
	done

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keras_sac needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.installed-all: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[all]'
	@touch $(VENV)/.installed-all $(foreach b,$(BACKENDS),$(VENV)/.installed-$(b))

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[experiments,$*]'
	@touch $@

clean:
	rm -rf $(VENV) $(NIGHTLY_VENV) site build dist .pytest_cache .ruff_cache .hypothesis
