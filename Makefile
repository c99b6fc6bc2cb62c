# Every target does its own set-up: a fresh clone needs python3.11 and make, nothing else.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo search-demo test coverage crash cluster check format clean

demo: $(READY)                ## merge real checkpoints and print what came out
	$(BIN)/mergegraph demo

search-demo: $(READY)         ## search for soups, strengths and barriers on real checkpoints, and print what came out
	$(BIN)/mergegraph demo --search

# Bytecode is written: children that each compile every module anew take 0.2 to 0.5 s more. Three workers for two
# processors, as many tests wait; few tests at a time, or one worker ends with minutes of slow ones.
test: $(READY) check          ## everything that CI runs
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 3 --maxschedchunk 4

coverage: $(READY)            ## which lines the tests reach, those of child processes too, and the slowest tests
	$(BIN)/coverage erase
	env -u PYTHONDONTWRITEBYTECODE COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest -n 3 --maxschedchunk 4 --durations=20
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover

crash: $(READY)               ## the long crash tests: 200 kills, power cuts (as root), the writers they must find
	$(BIN)/python -m pytest -n 2 -m crash tests/crash

cluster: $(READY)             ## the long cluster tests: 20 workers and 10 drivers of a Ray cluster killed, a host cut off (as root)
	$(BIN)/python -m pytest -n 0 -m crash tests/cluster

check: $(READY)               ## format, lint, import contracts, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright --level error

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) recipes/out

$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): torch and the rest, 2 GB on disk. This takes some minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable . --group dev
	touch $(READY)
