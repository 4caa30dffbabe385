# Two commands matter: `make lambda_hard` and `make test`. Each sets up what it needs first.
PYTHON ?= python3
BIN := .venv/bin
# Not byte-compiling some thousand files that are never imported saves a third of the set-up's time.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
SOURCES := setup.py pyproject.toml constraints.txt $(wildcard csrc/*)

# A network that is slow, or a machine that is busy: pip gives up after 15 s without a byte.
PIP_DEFAULT_TIMEOUT ?= 120
export PIP_DEFAULT_TIMEOUT

# Bytecode is kept, also where the environment forbids it: without it each process takes 7 s to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lambda_hard test quick fuzz rehearsal lint setup clean

lambda_hard: .venv/.runtime
	$(BIN)/python -m sweeps.run lambda_hard

# Two processes, a core each: most of the time goes into single processes. A file stays in one.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What takes under 90 s: all tests that are not marked slow.
quick: .venv/.dev
	$(BIN)/python -m pytest -m 'not slow'

# 2,000 wrong command lines, files and answers, others each time; make test tries the same 308.
# A case that ends only with the process has left its input in build/.
fuzz: .venv/.dev
	rm -f build/fuzz-*.txt
	OMP_NUM_THREADS=1 DIRECT_FUZZ_CASES=2000 $(BIN)/python -m pytest tests/fuzz \
	    || { cat build/fuzz-*.txt 2>/dev/null; exit 1; }

# The paper's scale, small: every command from WISA's files to a table, which stays in build/.
rehearsal: .venv/.dev
	rm -rf build/rehearsal
	$(BIN)/python tests/rehearsal.py build/rehearsal

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/.dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv

# Pip comes last: without it the environment's making was cut off, or failed, and is taken up again.
.venv/bin/pip: | .venv/bin/python
	test -e $@ || $(PYTHON) -m venv .venv

# The build sees the installed torch (no isolation), so nothing is downloaded twice. What `make test`
# sets up includes what `make lambda_hard` needs; the extension is compiled once.
.venv/.runtime: $(SOURCES) | .venv/bin/pip
	$(PIP) setuptools torch
	$(PIP) --no-build-isolation --editable .
	touch $@

.venv/.dev: $(SOURCES) | .venv/bin/pip
	$(PIP) setuptools torch
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch .venv/.runtime $@

clean:
	rm -rf build *.egg-info direct/_C.abi3.so .venv/.runtime .venv/.dev
