# Every target is one line of help: `make` prints them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Each file is run by one process; two cores have time for three, as most tests wait.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-fast test-floors lint format lab faults soak bench bench-peers docs lock clean

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

install: $(STAMP) ## Install cog and its development tools in .venv

$(STAMP): setup.cfg pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv is missing. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

quickstart: install ## Enlarge a picture: in Docker if an engine answers, otherwise on the local engine
	cd examples/enlarge && ../../$(BIN)/cog predict -i input=@picture.jpg -i scale=2

test: install ## Run all tests that this machine can; what it cannot is skipped with the reason (see `make lab`)
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: install ## Run what needs no Docker, lab, browser, azurite, and is not slow: no faults, state machines, fuzzing
	$(BIN)/python -m pytest $(PARALLEL) -m "not (docker or lab or browser or azurite or slow)"

test-floors: install ## Run the tests with the oldest dependencies that setup.cfg allows
	tools/test_floors $(PYTHON)

lint: install ## Check style, types and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports pyproject.toml

format: install ## Bring the code into its format
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

lab: ## Bring up a real Docker engine and stand-in base images (Debian, root)
	tests/lab/up

faults: install ## Break a server in every known way and print what it came to (about half an hour)
	$(BIN)/python -m tests.faults

soak: install ## Half an hour of mixed load on one server; its memory and descriptors must stay level
	$(BIN)/python -m benchmarks.soak

bench: install ## Measure what the README states
	$(BIN)/python -m benchmarks

bench-peers: install ## Measure this server beside its peers, the same models behind each (wrk; about half an hour)
	$(BIN)/python -m benchmarks.peers

docs: install ## Write the generated parts of docs/ and the editor schema of cog.yaml
	$(BIN)/python tools/write_docs.py

lock: install ## Renew the lock files of development and of the image
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-annotate --upgrade \
	    setup.cfg requirements-dev.in --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-annotate --generate-hashes \
	    --upgrade cog_server/requirements.in --output-file cog_server/requirements.lock

clean: ## Delete everything that can be made again
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
