# One line each: CI, the README and people call the same names.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check soak bench fuzz docs format clean
demo: $(VENV)/.installed    ## a sample service, NATS, two agents, one experiment
	@$(BIN)/seatrial demo

test: $(VENV)/.installed    ## all tests but the opt-in ones
	$(BIN)/pytest -m "not soak and not alone" -n auto --dist loadfile

check: $(VENV)/.installed   ## formatting, lint, types, who imports whom
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

soak: $(VENV)/.installed    ## on an idle machine: agreement with wrk, and 100 short runs beside a compile: is each passed?
	$(BIN)/pytest -m "soak or alone" -s

bench: $(VENV)/.installed   ## one agent side by side with wrk and others, and the page that tells; SOAK=1 adds 10 minutes of memory
	$(BIN)/python tests/bench/bench.py $(if $(SOAK),--soak) $(BENCH)

fuzz: $(VENV)/.installed    ## FUZZ_S seconds (60) of hostile bytes against all that reads a server's
	$(BIN)/python tests/fuzz/fuzz.py

docs: $(VENV)/.installed    ## the reference of experiment.yaml, from its schema
	$(BIN)/python docs/generate.py

format: $(VENV)/.installed
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "seatrial needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1): say which to use, as in 'make PYTHON=python3.12 demo'" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not make a virtual environment: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
