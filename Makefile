# What a newcomer needs: `make demo` and `make test`. Each makes its own virtual environment, so that Python is all
# that must be there. Another Python: `make test PYTHON=python3.13`; it gets an environment of its own.

PYTHON ?= python3

# A pyenv shim of a version that isn't selected exists and fails; then the version itself is looked for.
FOUND := $(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null || \
  ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(patsubst python%,%,$(notdir $(PYTHON)))*/bin/$(notdir $(PYTHON)) \
  2>/dev/null | sort -V | tail -n 1)
VERSION := $(if $(FOUND),$(shell "$(FOUND)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
OLD := $(if $(FOUND),$(shell "$(FOUND)" -c 'import sys; print(sys.version_info < (3, 11) and "old" or "")'))

ifeq ($(FOUND),)
  $(error There is no Python called "$(PYTHON)" here. minilinen needs Python 3.11 or newer; name one: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3)
endif
ifeq ($(OLD),old)
  $(error $(PYTHON) is Python $(VERSION), which is too old: minilinen needs Python 3.11 or newer. Name one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12)
endif

VENV := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(VERSION))
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/installed-$(VERSION)
TEST_READY := $(VENV)/installed-test-$(VERSION)
BENCH_READY := $(VENV)/installed-bench-$(VERSION)
# Other people's projects want older libraries beside today's JAX, so they have an environment of their own.
CLIENTS := .venv-clients
CLIENTS_READY := $(CLIENTS)/installed
# pytest takes more cores as they come; two are enough to finish in minutes.
WORKERS ?= 2

.PHONY: demo test test-all test-clients lint types pytest bench mutants docs format clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo      show real models: ResNet-50, a transformer, a CNN trained on handwritten digits"
	@echo "make test      ruff, pyright, tests and doctests: a few minutes"
	@echo "make test-all  the same with every case of the grids and the long tests"
	@echo "make test-clients  other people's models on minilinen and on Flax, to the bit: half an hour and more"
	@echo "make bench     time the same models on minilinen, on Flax and on its peers"
	@echo "make mutants   put 200 faults in, one at a time, and name those that no test notices: hours"
	@echo "make docs      write the README's outputs and pictures anew"
	@echo "make format    put every file into the house style"
	@echo "make clean     remove the virtual environments and what demo wrote"
	@echo "PYTHON=python3.13 after any of them takes another Python"

demo: $(DEMO_READY)
	@$(BIN)/minilinen demo

test: lint types pytest

test-all: PYTEST_ARGS := --all
test-all: test

lint: $(TEST_READY)
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(TEST_READY)
	@echo "== pyright"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

pytest: $(TEST_READY)
	@echo "== pytest on Python $(VERSION)"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# A part, or every model: make test-clients CLIENT_ARGS="--all FlaxBert"
test-clients: $(CLIENTS_READY)
	@$(CLIENTS)/bin/python tests/clients/transformers_bits.py $(CLIENT_ARGS)

bench: $(BENCH_READY)
	@$(BIN)/python -m tests.benchmarks

# Another sample, or a part: make mutants MUTANTS="--seed 1 --number 20 viz"
mutants: $(TEST_READY)
	@$(BIN)/python -m tests.mutants --workers $(WORKERS) $(MUTANTS)

docs: $(TEST_READY)
	@$(BIN)/python docs/pictures.py
	@$(BIN)/python docs/readme.py

format: $(TEST_READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* out

# The name of the stamp holds the version of Python: where python3 has become another, the environment is made anew.
$(DEMO_READY): pyproject.toml Makefile
	@echo "== Making $(VENV) with Python $(VERSION) and installing minilinen and JAX into it (about 600 MB, a minute or two) ..."
	@test -e $@ || rm -rf $(VENV)
	@"$(FOUND)" -m venv $(VENV) || { rm -rf $(VENV); echo "Python $(VERSION) cannot make a virtual environment: it lacks the module venv or ensurepip (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(TEST_READY): $(DEMO_READY)
	@echo "== Installing what the tests need (Flax as the oracle, pytest, ruff, pyright ...) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -e ".[test]"
	@touch $@

$(BENCH_READY): $(TEST_READY)
	@echo "== Installing what minilinen is compared with (Haiku, Equinox) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -e ".[bench]"
	@touch $@

$(CLIENTS_READY): pyproject.toml Makefile
	@echo "== Making $(CLIENTS) and installing Flax and the last transformers that has models for it ..."
	@rm -rf $(CLIENTS) && "$(FOUND)" -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --disable-pip-version-check -e . flax "huggingface_hub<1" "tokenizers<0.22" \
	  safetensors regex requests tqdm pyyaml filelock fsspec packaging
	@$(CLIENTS)/bin/python -m pip install --disable-pip-version-check --no-deps transformers==4.49.0
	@touch $@
