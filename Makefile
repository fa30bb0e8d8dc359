# What you can ask for; `make help` lists it. Everything works on a fresh Debian 12 or Ubuntu 24.04; there the tests want
# to be told of a Chromium that is no snap, such as CHROMIUM=/usr/bin/google-chrome. On Debian they take the one without
# windows, which costs a quarter less.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Processes of tests, on two cores: they wait a third of their time, for other processes, leases and browsers.
WORKERS ?= 4
# A file stays in one process; tests/conftest.py puts the long files first.
TOGETHER = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Their databases and documents lie in memory where there is enough of it.
IN_MEMORY := .ci/in-memory

export CHROMIUM ?= /usr/bin/chromium-headless-shell

# PROBE:PACKAGE; a package is installed when its probe is not there (.ci/install-missing)
FOR_DEMO := softhsm2-util:softhsm2 pdfsig:poppler-utils qpdf:qpdf openssl:openssl \
	/usr/share/fonts/truetype/liberation2:fonts-liberation2
FOR_TESTS := $(FOR_DEMO) /usr/lib/postgresql/*/bin/initdb:postgresql setpriv:util-linux cc:gcc \
	/usr/include/stdlib.h:libc6-dev p11-kit:p11-kit curl:curl \
	/usr/lib/*/pkcs11/p11-kit-client.so:p11-kit-modules /usr/lib/*/pkcs11-spy.so:opensc-pkcs11 \
	$(CHROMIUM):chromium-headless-shell strace:strace unshare:util-linux \
	/usr/lib/*/libsoftokn3.so:libnss3 certutil:libnss3-tools /usr/sbin/pkcsslotd:opencryptoki
FOR_BENCH := $(FOR_TESTS) javac:default-jdk-headless /usr/share/java/pdfbox2.jar:libpdfbox2-java \
	/usr/share/java/bcpkix.jar:libbcpkix-java

.DEFAULT_GOAL := help
.PHONY: .compiled help setup demo run test check lint coverage bench scale crash faults fuzz screenshots pictures clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Put the locked dependencies, checked by hash, into .venv

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@.ci/install-missing "$$($(PYTHON) -c 'import ensurepip; print(ensurepip.__file__)' 2>/dev/null || echo /missing):python3-venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/signing-service.pth"
	@printf '#!/bin/sh\nexec "$(CURDIR)/$(BIN)/python" -m signing_service "$$@"\n' > $(BIN)/signing-service
	@chmod +x $(BIN)/signing-service
	@touch $(READY)

demo: $(READY) ## Set a server up, sign a document, have others judge it: one minute, left in var/demo
	@.ci/install-missing $(FOR_DEMO)
	@$(BIN)/signing-service demo

run: $(READY) ## The same server, kept running: links to open, and what to type
	@.ci/install-missing $(FOR_DEMO)
	@$(BIN)/signing-service demo --stay --directory var/run

test: $(READY) ## All tests, with a real SoftHSM, SQLite and PostgreSQL
	@.ci/install-missing $(FOR_TESTS)
	@$(IN_MEMORY) $(BIN)/python -m pytest -q $(TOGETHER)

lint: $(READY) ## Style, types, and which package may import which
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.compiled: $(READY) # beside mypy: in a fresh checkout each process of the tests would compile them all
	@$(BIN)/python -m pytest -qq --collect-only -p no:cacheprovider >/dev/null || true # the tests tell what is wrong

check: $(READY) ## Everything that must hold: lint, and all tests with none skipped
	@.ci/install-missing $(FOR_TESTS)
	@$(MAKE) --no-print-directory -j 2 lint .compiled
	@SIGNING_TESTS_MUST_RUN=1 $(IN_MEMORY) $(BIN)/python -m pytest -q $(TOGETHER)

coverage: $(READY) ## Which lines the tests run through: counting them takes half as long again
	@.ci/install-missing $(FOR_TESTS)
	@$(BIN)/coverage erase
	@$(IN_MEMORY) $(BIN)/coverage run -m pytest -q $(TOGETHER)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --skip-empty

bench: $(READY) ## How fast it is, beside PDFBox and pyHanko on the same device and files; its aims, met or missed
	@.ci/install-missing $(FOR_BENCH)
	@PYTHONPATH=. $(BIN)/python -m tests.bench

scale: $(READY) ## 100,000 signatories, five million entries, two nodes of which one dies (18 GB in /tmp, an hour)
	@.ci/install-missing $(FOR_TESTS)
	@PYTHONPATH=. $(BIN)/python -m tests.bench.scale

crash: $(READY) ## Kill it in the place of each call that others can see, on both databases: hours
	@.ci/install-missing $(FOR_TESTS)
	@SIGNING_CAMPAIGN=full $(BIN)/python -m pytest -q -p no:schemathesis tests/crash tests/conformance/test_device_log.py

faults: $(READY) ## Take device, disk, database and clock away, attack door, log and documents: hours
	@.ci/install-missing $(FOR_TESTS)
	@SIGNING_CAMPAIGN=full SIGNING_LOG_CAMPAIGN=91200 $(BIN)/python -m pytest -q -p no:schemathesis tests/faults \
		tests/hsm/test_faults.py tests/hsm/test_deadline.py tests/hsm/test_outages.py tests/hsm/test_codes.py \
		tests/hsm/test_flips.py tests/hsm/test_load.py tests/hsm/test_modules.py tests/hsm/test_contract.py \
		tests/signer/test_process.py tests/signer/test_life.py tests/signer/test_phone_life.py \
		tests/tlog/test_campaign.py tests/pdf/test_finished.py tests/pdf/test_stock_cms.py tests/pdf/test_direct.py \
		tests/pdf/test_bombs.py

fuzz: $(READY) ## Ten minutes of coverage-guided fuzzing for everything that parses
	@.ci/install-missing $(FOR_TESTS)
	@for target in $$($(BIN)/python -m tests.fuzz --list); do $(BIN)/python -m tests.fuzz $$target --seconds 600; done

screenshots: $(READY) ## Every page and state on one sheet, as the browser's tests see them: var/screenshots
	@.ci/install-missing $(FOR_TESTS)
	@PYTHONPATH=. $(BIN)/python -m tests.browser.screenshots --workers $(WORKERS)

pictures: $(READY) ## The same, and a few of them small enough for the guides: docs/pictures
	@.ci/install-missing $(FOR_TESTS)
	@PYTHONPATH=. $(BIN)/python -m tests.browser.screenshots --workers $(WORKERS) --pictures docs/pictures

clean: ## Remove what was made, and nothing else
	@rm -rf var .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
