# CampsHub. `make` without a target lists all targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What npm installs: client generators, their compiler, the linters of the OpenAPI document.
CLIENTS := tests/clients/node_modules/.ready
# The first one that runs: version managers put names on the path that start nothing.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYPY ?= pypy3
PORT ?= 8000
RELOAD ?=
TESTS ?=

export PORT
export RELOAD
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## Start PostgreSQL, Redis, the API on PORT (8000) with demo data, a worker and a beat (RELOAD=1 reloads code)
	@exec $(BIN)/python -m devstack run

.PHONY: stack
stack: $(READY) ## Start the same with a replica, PgBouncer, nginx (on PORT) and two API processes
	@exec $(BIN)/python -m devstack stack

.PHONY: stop
stop: ## Stop what `make run` or `make stack` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m devstack stop; else echo "nothing was running"; fi

.PHONY: test
test: $(READY) $(CLIENTS) ## Run the tests on the real stack, except large data and installations (TESTS=tests/core for some)
	$(BIN)/pytest -n 2 -m "not large and not install" --cov=campshub --cov-branch --cov-report=term-missing:skip-covered \
		--cov-fail-under=$(if $(TESTS),0,85) $(TESTS)

.PHONY: test-large
test-large: $(READY) ## Run the tests that need large data
	$(BIN)/pytest -m large $(TESTS)

.PHONY: test-fuzz
test-fuzz: $(READY) ## Send every operation more generated requests, valid and invalid ones (examples=500)
	SCHEMATHESIS_EXAMPLES=$(or $(examples),500) $(BIN)/pytest -n 2 tests/test_openapi.py

.PHONY: test-install
test-install: $(READY) ## Test the lock with the oldest pip of each Python and newer releases (some minutes)
	$(BIN)/pytest -m install tests/install

.PHONY: test-clocks
test-clocks: $(READY) ## Run the tests that depend on dates under 12 shifted clocks, an hour (clock=leap-day TESTS=tests/reports)
	$(BIN)/python -m tests.clocks $(if $(clock),--clock $(clock)) $(TESTS)

.PHONY: lint
lint: $(READY) $(CLIENTS) ## Check style, types, import contracts and configuration files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy campshub devstack celery_worker.py
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive campshub config migrations wsgi.py celery_worker.py
	$(BIN)/python deploy/check_compose.py
	$(BIN)/python -m tests.clients.lint
	$(BIN)/python -m tests.wordlist
	$(BIN)/python -m devstack check

.PHONY: clients
clients: $(CLIENTS) ## Install the npm packages that check the OpenAPI document and the generated clients

.PHONY: audit
audit: $(READY) ## Check the pinned packages for known vulnerabilities (PyPI's advisories); weekly
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt

.PHONY: fmt
fmt: $(READY) ## Format the code and apply ruff's fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(READY) ## Run the benchmarks (only=lists,cached,... rounds=5 seconds=4 peers=1)
	$(BIN)/python -m bench $(if $(only),--only $(only)) $(if $(rounds),--rounds $(rounds)) \
		$(if $(seconds),--seconds $(seconds)) $(if $(peers),--peers)

.PHONY: check-freshness
check-freshness: $(READY) ## Report outdated reads under faults (fault=redis-cut seconds=300 writes=10000)
	$(BIN)/python -m bench.freshness $(if $(fault),--fault $(fault)) $(if $(seconds),--seconds $(seconds)) \
		$(if $(writes),--writes $(writes)) $(if $(app),--app $(app))

.PHONY: check-changes
check-changes: $(READY) ## Follow a change feed under eight writers while the server is killed (seconds=60)
	CHANGES_SECONDS=$(or $(seconds),60) $(BIN)/python -m pytest tests/changes/test_following.py

.PHONY: check-freshness-machine
check-freshness-machine: $(READY) ## Run the protocol's steps in any order, with many examples (examples=5000)
	MACHINE_EXAMPLES=$(or $(examples),5000) $(BIN)/python -m pytest -m "not large" tests/freshness/test_machine.py

.PHONY: check-freshness-model
check-freshness-model: ## Explore the protocol's model in larger worlds, under PyPy: 20 minutes, 8 GB of memory
	@command -v $(PYPY) >/dev/null || { echo "$(PYPY) is missing: sudo apt-get install pypy3" >&2; exit 1; }
	@$(PYPY) -m tests.freshness.explore
	@$(PYPY) -m tests.freshness.explore --mutations

.PHONY: migration
migration: $(READY) ## Create a migration from the models: make migration m="what it does"
	@test -n "$(m)" || { echo 'name the change: make migration m="add lockers"' >&2; exit 2; }
	@$(BIN)/python -m devstack exec flask db upgrade
	@$(BIN)/python -m devstack exec flask db migrate -m "$(m)"

.PHONY: module
module: $(READY) ## Write a new module with its tests (name=equipment, and row=device to name one row): docs/adding-a-module.md
	@$(BIN)/python -m devstack.scaffold "$(name)" $(if $(row),"$(row)")

.PHONY: permissions
permissions: $(READY) ## Generate docs/permissions.md from the routes and the roles
	@$(BIN)/python -m devstack exec flask permissions write docs/permissions.md

.PHONY: lock
lock: $(READY) ## Pin the requirements again, with hashes (UPGRADE=1 takes the newest releases)
	@for name in requirements requirements-dev; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
			$(if $(UPGRADE),--upgrade) --output-file $$name.txt $$name.in; \
	done

.PHONY: image-check
image-check: $(READY) ## Build the image with buildah and run it with podman (needs root; not part of test or lint)
	@deploy/image_check.sh

.PHONY: clean
clean: ## Stop the stack and remove it, the virtual environment and the caches of tools
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m devstack stop; $(BIN)/python -m devstack remove; fi
	rm -rf $(VENV) tests/clients/node_modules .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is missing: sudo apt-get install python3 python3-venv," \
		"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot create virtual environments: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "- installing the requirements into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@# The lock is complete. --no-deps stops pip from looking for newer releases of the pinned packages.
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-dev.txt 2>&1 | { grep -v '^WARNING' || true; } >&2
	@$(BIN)/pip check --quiet
	@touch $@

$(CLIENTS): tests/clients/package-lock.json $(READY)
	@echo "- installing the npm packages that check the API's clients into tests/clients/node_modules"
	@cd tests/clients && $(abspath $(BIN))/npm ci --silent >/dev/null 2>&1 || \
		{ echo "npm could not install tests/clients/package-lock.json: it needs a registry of npm packages" >&2; exit 1; }
	@touch $@
