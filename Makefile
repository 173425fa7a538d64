# Everything that a fresh machine with Python >= 3.11, pip, make and git needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO := demo/digits
# one thread each: two test workers that spin for two cores slow each other down
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations=25

.PHONY: demo test test-all faults check models-table format clean

demo: $(VENV)/.core  ## the main job on scikit-learn's digits, end to end
	$(BIN)/phiscale fit digits --train-minutes 1.5 --latency-ms 2 --out $(DEMO)

test: $(VENV)/.dev  ## what every change must pass, at most eight minutes on two cores
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev  ## the slow ones too
	$(PYTEST)

faults: $(VENV)/.dev  ## hundreds of kills, damaged files and nasty images: half an hour
	PHISCALE_EVERY_FAULT=1 $(PYTEST) tests/training/test_kills.py tests/training/test_world.py \
		tests/training/test_machine.py tests/training/test_stops.py \
		tests/training/test_faults.py tests/pipeline tests/data tests/search

check: $(VENV)/.dev  ## formatting, lint, types, imports one way
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

models-table: $(VENV)/.core  ## writes the table of docs/models.md
	$(BIN)/python benchmarks/models_table.py

clean:
	rm -rf $(VENV) demo dist

$(VENV)/.core: pyproject.toml packaging/phiscale/pyproject.toml lock.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint lock.txt --editable . ./packaging/phiscale
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --constraint lock.txt --editable . './packaging/phiscale[dev]'
	touch $@
