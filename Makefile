# `make search`, `make test` and `make lint` build the environment they need in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
# A GPU is used where there is one.
EXTRA := $(if $(shell command -v nvidia-smi 2>/dev/null),test$(comma)cuda12,test)
# The tests of a file share compiled programs, so one process runs all of them. Most
# programs run once on a few images, so XLA compiles them without optimisation, which
# takes a third to a half of the time; `search`, `dist` and `bench` compile as users do.
PYTEST := JAX_PLATFORMS=cpu OPENBLAS_NUM_THREADS=1 \
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1" \
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# The main job: a search on scikit-learn's digits, nothing to download.
search: $(BIN)/.installed
	$(BIN)/egnas search

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[$(EXTRA)]"
	touch $@

# Every room of the package, in at most fifteen minutes of processor time.
test: $(BIN)/.installed
	$(PYTEST) -m "not slow and not longest"

# Searches, retrainings and their commands, on several devices and with large programs.
test-slow: $(BIN)/.installed
	$(PYTEST) -m "slow and not longest"

# Whole experiments, several processes, and what takes longest: not in `.ci/run`.
test-longest: $(BIN)/.installed
	$(PYTEST) -m longest

# Speed beside torch: about half an hour on a machine that does nothing else.
bench: $(BIN)/.installed
	$(BIN)/pip install --quiet --editable ".[bench]"
	$(BIN)/python -m benchmarks --json benchmarks.json

# Everything that one GPU is asked, in calls of CALL seconds that go on with each other
# (docs/gpu.md). It runs in the environment that calls it, which has jax for CUDA.
CAMPAIGN ?= campaign
CALL ?= 480
gpu:
	$(PYTHON) -m benchmarks.gpu --out $(CAMPAIGN) --seconds $(CALL) \
		$(if $(PIECES),--pieces $(PIECES)) \
		$(if $(ARCHIVE),--archive $(ARCHIVE)) $(if $(RESUME),--resume-from $(RESUME)) $(GPU)

# The documentation site: build/docs/index.html. A warning is an error.
docs: $(BIN)/.installed
	$(BIN)/pip install --quiet --editable ".[docs]"
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -W --keep-going -q docs build/docs

# The source archive and the wheel, in dist/; the wheel is installed into an empty
# environment and used there.
dist: $(BIN)/.installed
	$(BIN)/pip install --quiet build
	rm -rf dist build/lib build/wheel
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet dist/*.whl
	cd build/wheel && bin/egnas doctor && bin/egnas draw DARTS_V2 --out cell.svg

lint: $(BIN)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	JAX_PLATFORMS=cpu $(BIN)/python experiments/results.py --check

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

.PHONY: search test test-slow test-longest bench gpu docs dist lint format clean
