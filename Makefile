# Everything runs on a machine that has only Python 3.11 or later and make: deploy/bootstrap makes the rest.
# What starts servers is started by exec: a signal that ends make then reaches it, and not a shell between them.
PYTHON ?= python3
CUSTOMERS ?= 78553
BIN := .venv/bin
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --quiet --custom-compile-command "make lock"

.PHONY: help demo up check test prove bench contracts lint lock
help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## */  make \1\t/p' Makefile | expand -t 20
demo: ## import 78,553 made-up customers (CUSTOMERS=… for more), check the verdict, see favorites follow
	@$(PYTHON) deploy/bootstrap && exec $(BIN)/vapteke demo --customers $(CUSTOMERS)
up: ## run everything in the foreground; Ctrl-C stops it
	@$(PYTHON) deploy/bootstrap && exec $(BIN)/vapteke up --customers $(CUSTOMERS)
check: lint ## lint, types and the tests that need no server, in a minute or two
	@$(PYTHON) deploy/bootstrap test && exec $(BIN)/python -m pytest -m "not prove and not server" -n 2 --dist loadfile
test: ## the whole suite, in minutes
	@$(PYTHON) deploy/bootstrap test && exec $(BIN)/python -m pytest -m "not prove" -n 2 --dist loadfile --no-loadscope-reorder
prove: ## the long forms of the tests that have one
	@$(PYTHON) deploy/bootstrap test && exec $(BIN)/python -m pytest -m prove
bench: ## measure each stage of an import, and the REST service beside its rivals (BENCH_JSON=… keeps the figures in a file)
	@$(PYTHON) deploy/bootstrap test && exec env PYTHONPATH=tests/support $(BIN)/python tests/bench
contracts: ## write the OpenAPI, AsyncAPI and event schema files, and the pages of settings and metrics, again
	@$(PYTHON) deploy/bootstrap test && PYTHONPATH=tests/support $(BIN)/python tests/support/contracts.py
lint: ## ruff and mypy
	@$(PYTHON) deploy/bootstrap && $(BIN)/ruff check . deploy/bootstrap && $(BIN)/ruff format --check . deploy/bootstrap && $(BIN)/mypy services shared deploy/local
lock: ## bring the lock files in line with the pyproject files
	@$(PYTHON) deploy/bootstrap && $(COMPILE) $(foreach name,shared customers-api favorites-api legacy-importer local,--no-emit-package vaptekecustomers-$(name)) --group dev pyproject.toml -o requirements.lock
	@for service in customers-api favorites-api legacy-importer; do \
	  $(COMPILE) --no-emit-package vaptekecustomers-shared -c requirements.lock services/$$service/pyproject.toml -o services/$$service/requirements.lock || exit 1; done
	@echo hatchling | $(COMPILE) -c requirements.lock - -o deploy/build.lock
