# make demo   reconstruct the example photos and write demo/index.html
# make test   run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test lint readme clean

demo: $(VENV)/.installed
	$(BIN)/tokzoo demo --photos examples/images --out demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

readme: $(VENV)/.dev
	$(BIN)/python -m tests.readme --write
	$(BIN)/python -m tests.protocols --write

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo dist build
