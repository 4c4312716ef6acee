# Every target sets up what it needs, in .venv, and is quick when that is done. A fresh Debian 12 with make and
# python3.11 is enough. PYTHON=… chooses another interpreter (3.11 or later); ARGS=… is passed on.

.DEFAULT_GOAL := help
.PHONY: help demo test stores lint soak bench docs pins release-check clean runtime bench-setup dev release-setup

BIN := .venv/bin
ARGS ?=
# As many workers as cores. Tests that must not run beside each other share an xdist_group.
PYTEST := $(BIN)/pytest -q -n auto --dist loadgroup

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Hundreds of hubs and commands are started: none is to compile the program anew, whatever the caller's environment says.
export PYTHONDONTWRITEBYTECODE :=

demo: runtime ## Start a hub with simulated participants and make payments through it
	@$(BIN)/vuka demo $(ARGS)

test: lint ## All that must hold: `make lint`, then every test but the soak
	$(PYTEST) -m "not soak" $(ARGS)

stores: dev ## The suites of the rules, the ledger, the engine and the operators' API on SQLite and on PostgreSQL: twenty minutes
	$(PYTEST) -m "not soak" --store both tests/switch tests/ledger tests/engine tests/api tests/store $(ARGS)

lint: dev ## Style, formatting, types, import rules, and that the docs build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && echo "$(BIN)/mkdocs build --strict" \
		&& NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir "$$site"

soak: dev ## The long runs: crashes and faults under load, random inputs, overload; writes soak-report.json
	@kept=$$(mktemp -d) && trap 'rm -rf "$$kept"' EXIT && echo "$(PYTEST) -m soak --timeout 3600 $(ARGS)" \
		&& { VUKA_SOAK_REPORT="$$kept" $(PYTEST) -m soak --timeout 3600 $(ARGS); ended=$$?; \
		$(BIN)/python -m tests.faults.report "$$kept" soak-report.json; exit $$ended; }

bench: bench-setup ## Measure throughput and latency on this machine
	@$(BIN)/vuka bench $(ARGS)

docs: dev ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site
	@echo "To read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8000"

pins: ## Move constraints.txt to the newest release of everything
	scripts/pins

release-check: release-setup ## Build the packages into dist/ and check all that must hold of a release
	@$(BIN)/python scripts/release_check.py $(ARGS)

clean: ## Remove what make made, .venv included. A hub's data directory is left alone
	rm -rf .venv site dist demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime dev:
	@scripts/setup $@

bench-setup:
	@scripts/setup bench

release-setup:
	@scripts/setup release
