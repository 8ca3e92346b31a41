# `make demo` and `make test` set themselves up: a virtual environment in .venv, made once and reused.
# Another interpreter: `make demo PYTHON=python3.13`. Another environment: `make test VENV=/path/to/venv`.

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
JOBS ?= 2
# Small matrices: with more threads the test processes wait for each other.
test test-all test-oldest: export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help setup demo test test-all test-oldest lint format clean

help:
	@echo "make demo      set-up, then mock sky -> dataset -> training -> evaluation -> catalogue (about 10 minutes on two cores)"
	@echo "make test      set-up, then the tests (8 minutes on two quiet cores)"
	@echo "make test-all  the slow tests too"
	@echo "make lint      ruff, mypy and the imports between rooms, as CI runs it;  make format  lets ruff mend what it can"
	@echo "make clean     remove what the commands made: data/, runs/, caches (not $(VENV))"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "ACF-JAX needs Python 3.11, 3.12 or 3.13, and none was found: install one, or name it: make demo PYTHON=/path/to/python3.13"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: setup
	$(BIN)/python -m datasets.build --config mock
	$(BIN)/python train.py --config configs/demo.py
	$(BIN)/python evaluate.py --checkpoint runs/demo
	$(BIN)/python predict.py --checkpoint runs/demo --dataset smss_stamps/mock --out runs/demo/catalogue
	$(BIN)/python -m acf_jax.catalogue figures runs/demo/catalogue

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-all: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not remote"

# The oldest dependencies that pyproject.toml allows, in an environment of their own; needs uv. Two kinds of warnings
# are left out there: an old package gives them beside a newer one, and about its own code.
test-oldest:
	uv venv --quiet --clear --python 3.11 .venv-oldest
	uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct -e ".[dev]"
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist loadfile -W ignore::DeprecationWarning -W ignore::SyntaxWarning

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf data runs .jax_cache .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
