# Two targets matter to a newcomer: `make demo` and `make test`. Both make the virtual environment they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.lock-installed
UV     := 0.13.8
PEERS  := quix faust arroyo
SERVING_PEERS := mlserver triton
PEER_ENVS := build/peers
ARGS   ?=
# The browser's tests have a process of their own, in which their browser's event loop runs all the time.
# Tests in two processes, each with a Kafka and a Redis of its own; a file's tests stay together, and files start in order.
TWO    := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check lint types unit integration faults triton ray device-check lock proto clean venv
.DEFAULT_GOAL := demo

demo: $(STAMP)            ## the whole river on this machine: make demo ARGS="rides --plain --duration 60"
	$(BIN)/headrace demo $(ARGS)

test: lint types          ## everything that CI runs
	$(BIN)/python -m pytest tests/unit tests/contracts -m "not slow" $(TWO) --cov --cov-report= $(ARGS)
	$(BIN)/python -m pytest tests/faults tests/e2e tests/integration -m "not slow" $(TWO) --cov --cov-append --cov-report= $(ARGS)
	$(BIN)/python -m pytest tests/browser -m "not slow" --cov --cov-append --cov-report=term $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest tests/unit tests/contracts $(ARGS)

integration: $(STAMP)
	$(BIN)/python -m pytest tests/integration tests/e2e -m "not slow" $(ARGS)
	$(BIN)/python -m pytest tests/browser -m "not slow" $(ARGS)

faults: $(STAMP)          ## the long form of the fault tests
	$(BIN)/python -m pytest tests/faults $(ARGS)

triton: build/triton/wheel  ## the bridge against a real Triton server, from a wheel of 55 MB that the lock cannot hold
	TRITON_WHEEL=$(CURDIR)/build/triton/wheel $(BIN)/python -m pytest tests/integration/bridge $(ARGS)

ray: build/ray/.installed ## batch jobs on a real Ray, in an environment of its own: which ours does not hold
	RAY_PYTHON=$(CURDIR)/build/ray/bin/python $(BIN)/python -m pytest tests/integration/batch/test_batch_ray.py $(ARGS)

build/ray/.installed: tests/integration/batch/ray.txt requirements.lock $(STAMP) | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(@D)/bin/python requirements.lock
	$(BIN)/uv pip install --quiet --require-hashes --python $(@D)/bin/python -r tests/integration/batch/ray.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(@D)/bin/python --editable .
	@touch $@

device-check: $(STAMP)    ## what a GPU does here, in some minutes; without one the processor does the same
	$(BIN)/python -m benchmarks.device $(ARGS)

bench-stream: $(PEERS:%=$(PEER_ENVS)/%/.installed)
bench-learning: $(PEER_ENVS)/learning/.installed
bench-serving: $(SERVING_PEERS:%=$(PEER_ENVS)/%/.installed) build/triton/wheel
bench-%: $(STAMP)         ## make bench-stream, FULL=1 for the long form
	$(BIN)/python -m benchmarks.$* $(if $(FULL),--full,) $(ARGS)

proto: $(STAMP)           ## regenerate headrace/contracts/*_pb2* from proto/
	$(BIN)/python proto/generate.py

venv: $(STAMP)

# uv comes from PyPI into the environment itself; the environment changes only when the lock does.
$(BIN)/uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)

$(STAMP): requirements.lock | $(BIN)/uv
	@echo "Installing the locked packages into $(VENV) (about a minute the first time) ..."
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

build/triton/wheel: tests/integration/bridge/triton.lock | $(STAMP)
	$(BIN)/python -m pip download --quiet --no-deps --require-hashes --dest build/triton -r $<
	$(BIN)/python -m zipfile -e build/triton/nvidia_pytriton-*.whl $@
	@touch $@

# The benchmarks' peers need packages that ours would conflict with, so each has an environment of its own.
$(SERVING_PEERS:%=$(PEER_ENVS)/%/.installed): $(PEER_ENVS)/%/.installed: benchmarks/serving/peers/%.txt | $(BIN)/uv
	$(install-peer)
$(PEERS:%=$(PEER_ENVS)/%/.installed): $(PEER_ENVS)/%/.installed: benchmarks/stream/peers/%.txt | $(BIN)/uv
	$(install-peer)

$(PEER_ENVS)/learning/.installed: benchmarks/learning/rivals/rivals.txt | $(BIN)/uv
	$(install-peer)

define install-peer
	@echo "Installing $(notdir $(@D)) to compare with ..."
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(@D)/bin/python $<
	@touch $@
endef

lock: | $(BIN)/uv         ## pin what pyproject.toml asks for
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --extra all --group dev pyproject.toml -o requirements.lock
	mkdir -p build && sed -n 's/ \\$$//; /^\(torch\|numpy\|msgspec\)==/p' requirements.lock > build/shared.txt
	for peer in $(PEERS:%=stream/peers/%) $(SERVING_PEERS:%=serving/peers/%); do \
	    grep -q '^numpy<' benchmarks/$$peer.in && sed -i '/^numpy==/d' build/shared.txt; \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-header --constraint build/shared.txt benchmarks/$$peer.in -o benchmarks/$$peer.txt || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    benchmarks/learning/rivals/rivals.in -o benchmarks/learning/rivals/rivals.txt
	sed 's/ \\$$//' requirements.lock | grep -E '^[a-zA-Z0-9_.-]+==' > build/all.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --constraint build/all.txt tests/integration/batch/ray.in -o tests/integration/batch/ray.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
