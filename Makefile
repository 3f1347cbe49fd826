# `make help` lists the targets. Everything runs from .venv, which is made when first needed.

SHELL := /bin/sh
PY := .venv/bin/python
TESTS_STAMP := .venv/.tests-installed
NODE_STAMP := .venv/.node-installed
NOT_SLOW_SUITES := not faults and not clients
UNIT_TESTS := $(wildcard tests/architecture tests/docs tests/fasterstore tests/actors tests/web tests/tools tests/scripts)
SHELL_SCRIPTS := $(wildcard scripts/*.sh) tests/clients/install.sh .ci/run
PYTEST := $(PY) -m pytest -n 2 --dist worksteal --timeout=300
# Three where much of the time is spent waiting: for deadlines, restarts, disks.
PYTEST_WAITING := $(PYTEST) -n 3
FAULTS := --dist load --maxschedchunk 1 -m faults
# The suites start hundreds of processes: each would compile the program anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run check test test-quick test-faults test-faults-long test-clients s3-tests fuzz audit bench measure-million measure-scaled health put get delete demo-two-nodes clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: $(NODE_STAMP) .env ## start a node (settings in .env; port 9000, data in ./data unless changed)
	@exec $(PY) -m fasterstore serve

check: $(TESTS_STAMP) ## lint, types, direction of imports, shell scripts
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/architecture
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SHELL_SCRIPTS); else echo "shellcheck is not installed: scripts not checked"; fi

test: $(TESTS_STAMP) ## the whole suite but test-faults and test-clients
	$(PYTEST_WAITING) -m "$(NOT_SLOW_SUITES)"

test-quick: $(TESTS_STAMP) ## unit tests, at most a minute
	$(PYTEST) -q -m "$(NOT_SLOW_SUITES) and not slow" --ignore=tests/web/app $(UNIT_TESTS)

# Fuzzing has both cores to itself, two targets at a time; the rest comes after it.
test-faults: $(TESTS_STAMP) ## crash states, kills, power cuts, full, slow and failing disks, bit rot (a quarter of an hour)
	@status=0; set -x; $(PYTEST) $(FAULTS) tests/fuzz || status=1; \
	$(PYTEST_WAITING) $(FAULTS) --timeout=1200 --ignore=tests/fuzz || status=1; exit $$status

test-faults-long: $(TESTS_STAMP) ## the same, ten times as much of it (two hours; FAULT_SCALE= for another factor)
	FAULT_SCALE=$(or $(FAULT_SCALE),10) $(PYTEST_WAITING) $(FAULTS) --timeout=14400

test-clients: $(TESTS_STAMP) ## S3 programs that are slow to install: rclone, restic, mc, pandas ... (installed first; minutes)
	@tests/clients/install.sh
	$(PYTEST) -m clients tests/clients

fuzz: $(TESTS_STAMP) ## fuzz for 10 minutes each, two at a time (an hour): FUZZ_SECS= for another time, TARGETS= for some of them
	$(PY) -m tests.fuzz.run --secs $(or $(FUZZ_SECS),600) --jobs 2 $(TARGETS)

audit: $(TESTS_STAMP) ## known faults in the pinned packages (says so if the advisory service cannot be asked)
	@$(PY) -m scripts.audit

s3-tests: $(TESTS_STAMP) ## ceph/s3-tests, of which 95 % must pass (2 minutes): S3_TESTS= a folder with a checkout of them
	@test -f "$(S3_TESTS)/s3tests/functional/test_s3.py" || { echo "S3_TESTS must name a checkout of github.com/ceph/s3-tests" >&2; exit 2; }
	@$(PY) -m pip install --quiet --disable-pip-version-check -r tests/s3_tests/requirements.txt
	$(PY) -m scripts.s3_tests "$(S3_TESTS)"

bench: $(NODE_STAMP) ## load on a running node: FS_OBJECTS= FS_SIZE_BYTES= FS_CONCURRENCY= FS_BUCKET=
	@$(PY) -m fasterstore bench

measure-million: $(TESTS_STAMP) ## cost per operation and time to ready with 1,000,000 objects (minutes, about 2.5 GB)
	$(PY) -m scripts.measure.cost_by_size --limit 1.3 --ready-limit 2

measure-scaled: $(TESTS_STAMP) ## the same at 1/50 of the size, printed and not judged
	$(PY) -m scripts.measure.cost_by_size --scale 0.02 --rounds 3

health: ## ask the node how it is
	@scripts/fs-health.sh

put: ## store a file: FILE= BUCKET= KEY=
	@scripts/fs-put.sh "$$FILE" "$$BUCKET" "$$KEY"

get: ## fetch an object: BUCKET= KEY= OUT= (a file, or - for standard output)
	@scripts/fs-get.sh "$$BUCKET" "$$KEY" "$$OUT"

delete: ## delete an object: BUCKET= KEY=
	@scripts/fs-delete.sh "$$BUCKET" "$$KEY"

demo-two-nodes: $(NODE_STAMP) ## two nodes on loopback: write to one, read from the other, one goes away and comes back (half a minute)
	@$(PY) -m tools.two_node_demo

clean: ## remove .venv and caches; data and .env stay
	rm -rf .venv .venv-clients .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find fasterstore actors web tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

.env:
	@install -m 600 .env.example .env
	@echo "made .env from .env.example"

$(NODE_STAMP): requirements.txt
	@scripts/python-env.sh requirements.txt
	@touch $@

$(TESTS_STAMP): requirements.txt tests/requirements.txt
	@scripts/python-env.sh tests/requirements.txt
	@touch $(NODE_STAMP) $@
