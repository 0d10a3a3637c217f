# Everything runs on a machine that has only Python 3.11 or later and make: deploy/bootstrap sets up the rest.
# Commands that start servers run by exec, so that a signal that ends make reaches them and not a shell in between.
.DEFAULT_GOAL := help
PYTHON ?= python3
CUSTOMERS ?= 78553
BIN := .venv/bin
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --quiet --custom-compile-command "make lock"

# The set-up runs again when one of these files changes, when it was interrupted, and when the tree was moved.
READY := .venv/complete
READY_FOR_TESTS := .venv/complete-for-tests
MEMBERS := shared services/customers-api services/favorites-api services/legacy-importer deploy/local
$(READY): requirements.lock deploy/bootstrap $(MEMBERS:=/pyproject.toml)
	@$(PYTHON) deploy/bootstrap
$(READY_FOR_TESTS): $(READY)
	@$(PYTHON) deploy/bootstrap test
ifneq ($(shell test -x .venv/bin/python && cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

.PHONY: help demo up check test prove bench contracts lint lock
help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## */  make \1\t/p' Makefile | expand -t 20
demo: $(READY) ## import 78,553 made-up customers (CUSTOMERS=… for more), check the verdict, see favorites follow
	@exec $(BIN)/vapteke demo --customers $(CUSTOMERS)
up: $(READY) ## run everything in the foreground; Ctrl-C stops it
	@exec $(BIN)/vapteke up --customers $(CUSTOMERS)
check: $(READY_FOR_TESTS) lint ## lint, types and the tests that need no server, in a minute or two
	@exec $(BIN)/python -m pytest -m "not prove and not server" -n 2 --dist loadfile
test: $(READY_FOR_TESTS) ## the whole suite, in minutes
	@exec $(BIN)/python -m pytest -m "not prove" -n 2 --dist loadfile --no-loadscope-reorder
prove: $(READY_FOR_TESTS) ## the long forms of the tests that have one
	@exec $(BIN)/python -m pytest -m prove
bench: $(READY_FOR_TESTS) ## measure imports and the REST service beside their rivals (CUSTOMERS=10000000: with so many, too)
	@exec env PYTHONPATH=tests/support $(BIN)/python tests/bench --many $(CUSTOMERS)
contracts: $(READY_FOR_TESTS) ## generate the OpenAPI, AsyncAPI and event schema files, and the pages of settings and metrics, again
	@PYTHONPATH=tests/support $(BIN)/python tests/support/contracts.py
lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check . deploy/bootstrap && $(BIN)/ruff format --check . deploy/bootstrap && $(BIN)/mypy services shared deploy/local
lock: $(READY) ## bring the lock files in line with the pyproject files
	@$(COMPILE) $(foreach name,shared customers-api favorites-api legacy-importer local,--no-emit-package vaptekecustomers-$(name)) --group dev pyproject.toml -o requirements.lock
	@for service in customers-api favorites-api legacy-importer; do \
	  $(COMPILE) --no-emit-package vaptekecustomers-shared -c requirements.lock services/$$service/pyproject.toml -o services/$$service/requirements.lock || exit 1; done
	@echo hatchling | $(COMPILE) -c requirements.lock - -o deploy/build.lock
