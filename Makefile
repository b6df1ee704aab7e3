# Everything here runs on a fresh machine with Python 3.11 or newer; what it needs goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types check docs browser native clean
.DEFAULT_GOAL := demo

demo: $(VENV)/demo.installed  ## train on real sequences and write runs/demo/report.html
	$(BIN)/throughtime demo

test: $(VENV)/test.installed browser  ## all tests on JAX, then those that train on PyTorch and TensorFlow
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n auto
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n auto -m backend
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n auto -m backend

lint: $(VENV)/test.installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: $(VENV)/test.installed
	$(BIN)/mypy

check: lint types test

# The report is tested in a browser. Debian's is taken where we may install it; otherwise the one that Playwright brings.
browser: $(VENV)/test.installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || $(BIN)/playwright install chromium \
	  || echo "no browser could be installed: the report's browser tests will say so"

# For work on csrc: builds what was edited, with all warnings. THROUGHTIME_LIBRARY=build/dev/libthroughtime.so takes it.
native:
	cmake -S . -B build/dev -DTHROUGHTIME_WERROR=ON -DTHROUGHTIME_TESTS=ON
	cmake --build build/dev --parallel

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/demo.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[demo]' --constraint constraints.txt
	touch $@

$(VENV)/test.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[test]' --constraint constraints.txt
	touch $@ $(VENV)/demo.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
