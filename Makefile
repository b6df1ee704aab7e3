# Everything here runs on a fresh machine with Python 3.11 or newer and a C++ compiler; what else it needs goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What the native library is built from. Folders are among it, because their time is new where a file was removed.
KERNELS := CMakeLists.txt $(shell find csrc -name tests -prune -o -print)

.PHONY: demo snippets test thorough lint types check docs browser native sanitize wheel clean
.DEFAULT_GOAL := demo

demo: $(VENV)/demo.installed  ## train on real sequences and write runs/demo/report.html
	$(BIN)/throughtime demo

# As a reader pastes it, and with what the demo installs alone, also where the tests have installed more.
snippets: $(VENV)/demo.installed  ## all code of README and docs, in fresh processes and directories
	test -s runs/demo/vowels.parquet || $(MAKE) demo
	$(BIN)/python tests/snippets.py

test: $(VENV)/test.installed browser  ## all tests on PyTorch, which compiles nothing; those of a backend on JAX and TensorFlow
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n auto
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n auto -m backend
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n auto -m backend

# Everything: also what is exhaustive, such as a fuzz of every file type that is read, and on JAX and TensorFlow all that
# `make test` runs a part of. An hour or more: before a release, or an issue is closed.
thorough: $(VENV)/test.installed browser
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n auto --thorough
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n auto --thorough -m backend
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n auto --thorough -m backend

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
native: | $(BIN)/cmake
	$(BIN)/cmake -S . -B build/dev -DTHROUGHTIME_WERROR=ON -DTHROUGHTIME_TESTS=ON
	$(BIN)/cmake --build build/dev --parallel

# The tests of the C ABI under the compiler's sanitizers: of memory and undefined behaviour, then of threads.
sanitize: | $(BIN)/cmake
	set -e; for kind in address,undefined thread; do \
	  folder=build/sanitize-$${kind%,*}; \
	  $(BIN)/cmake -S . -B $$folder -DTHROUGHTIME_SANITIZE=$$kind -DTHROUGHTIME_WERROR=ON -DTHROUGHTIME_TESTS=ON \
	    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-g -O1"; \
	  $(BIN)/cmake --build $$folder --parallel; \
	  $$folder/throughtime_tests; \
	done

# A wheel for every Linux whose glibc is not older than this machine's, with the C++ runtime inside, in dist/.
wheel: $(VENV)/test.installed
	rm -rf build/wheel dist
	THROUGHTIME_REQUIRE_KERNELS=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --config-settings cmake.define.THROUGHTIME_STATIC_RUNTIME=ON --wheel-dir build/wheel .
	PATH="$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/*.whl

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/demo.installed: pyproject.toml $(KERNELS) | $(VENV)/bin/python
	$(PIP) --editable '.[demo]' --constraint constraints.txt
	touch $@

# The tests need the native library, so that here a compiler's error is one; the demo runs without it as well.
$(VENV)/test.installed: pyproject.toml constraints.txt $(KERNELS) | $(VENV)/bin/python
	THROUGHTIME_REQUIRE_KERNELS=1 $(PIP) --editable '.[test]' --constraint constraints.txt
	touch $@ $(VENV)/demo.installed

$(BIN)/cmake:
	$(MAKE) $(VENV)/test.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
