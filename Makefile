# The two commands: `make run` and `make test`. Each sets up what it needs; a second start reuses it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

INVENTORY ?= inventory/local.yml
TUNE ?= yes
ARGS ?=
# The first Python that really runs (a version manager's shim may not), is new enough and can make environments.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
TEST_PACKAGES := chromium libjemalloc2 iproute2 openssh-client openssh-server

.PHONY: run test test-vm setup lint lock bench figures screenshots test-packages node-environment

run: setup
	.venv/bin/python -m reports run --inventory $(INVENTORY) --tune $(TUNE) -- $(ARGS)

test: setup test-packages lint node-environment
	.venv/bin/python -m pytest $(ARGS)

# Two emulated machines with their own kernel and systemd, and reboots. The image is kept in .cache/vm.
test-vm: setup
	.venv/bin/python -m pytest -m vm tests/vm $(ARGS)

# The client beside `vllm bench serve`, on a stub server and on a real one; prints, in some minutes, what both measured.
bench: node-environment
	PYTHONPATH=. "$$(.venv/bin/python -c 'from probe_agent import paths; print(paths.HOME)')/venv/bin/python" tests/bench/client.py $(ARGS)

# The pages of the sample in reports/samples/h200, what README.md and docs/labs.md say of it, and their pictures of it.
figures: setup
	.venv/bin/python -m reports render reports/samples/h200
	.venv/bin/python -m docs.figures

screenshots: setup
	.venv/bin/python -m docs.screenshots

setup: .venv/.complete

.venv/.complete: requirements/controller.lock
	@if [ -z "$(PYTHON)" ]; then \
	  echo "no Python >= 3.11 with venv was found; on Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; fi
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet "$$(grep '^uv==' requirements/controller.lock)"
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" .venv/bin/uv pip install --quiet --compile-bytecode \
	  --python .venv/bin/python --requirement requirements/controller.lock
	touch $@

# What the probe measures with, put on this machine by the same role that brings it to a fleet.
node-environment: setup
	.venv/bin/python -m reports run --inventory inventory/local.yml --tune no -- --tags environment

test-packages:
	@missing=$$(for p in $(TEST_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install --yes --no-install-recommends $$missing >/dev/null; \
	  else echo "tests that need these Debian packages are skipped: $$missing" | tr '\n' ' '; echo; fi; fi

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ansible-lint --offline --profile production -q

# A GPU node takes torch from the index; a CPU node a build without CUDA, from a folder of wheels where there is one.
lock: setup
	links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}"; unset UV_FIND_LINKS; \
	compile() { .venv/bin/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate pyproject.toml "$$@"; }; \
	compile --extra controller --extra dev -o requirements/controller.lock; \
	compile --extra node-gpu -o requirements/node-gpu.lock; \
	if [ -n "$$links" ]; then source=(--find-links "$$links"); else source=(--torch-backend cpu); fi; \
	compile --extra node-cpu "$${source[@]}" --override requirements/overrides-cpu.txt \
	  --no-emit-package intel-openmp --no-emit-package intel-cmplr-lib-ur -o requirements/node-cpu.lock # x86 alone has them
	sed -i 's/^\(torch==[^+]*\)+.*/\1/' requirements/node-*.lock # which build of torch, the node decides
