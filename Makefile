# `make demo` and `make test` are all that a fresh clone needs: they make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
GENERATORS := $(VENV)/generators
# Processes that share the tests: two more than there are cores, since tests also wait. None of them: make test WORKERS=0
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Programs that tests start by the hundred need not be compiled anew each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test coverage test-slow test-image check format bench constraints wheels image clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/akidb demo

test: $(READY)
	$(BIN)/python -m akidb model pull all-minilm-l6-v2
	$(PYTEST) -m 'not slow'

coverage: $(READY)
	$(BIN)/python -m akidb model pull all-minilm-l6-v2
	$(PYTEST) -m 'not slow' --cov --cov-report=term

# What generates and runs clients from the OpenAPI description; npm comes with Node.js.
$(GENERATORS): $(READY) tests/clients/requirements.txt tests/clients/package-lock.json
	$(PYTHON) -m venv $(GENERATORS)
	$(GENERATORS)/bin/python -m pip install --quiet --requirement tests/clients/requirements.txt
	npm ci --prefix tests/clients --no-audit --no-fund --silent
	touch $(GENERATORS)

test-slow: $(READY) $(GENERATORS)
	$(BIN)/python -m akidb model pull all-minilm-l6-v2
	$(PYTEST) -m 'slow and not image'

test-image: $(READY)
	$(PYTEST) -m image

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/akidb bench

constraints: $(READY)
	$(BIN)/python tools/freeze.py > constraints.txt

wheels: $(READY)
	$(BIN)/python tools/check_wheels.py

image:
	$(PYTHON) tools/build_image.py

clean:
	rm -rf $(VENV) tests/clients/node_modules akidb-data build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
