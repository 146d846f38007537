# The two commands are `make run` and `make test`; each sets up what it needs.
# The first interpreter that runs and is new enough.
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.13; do \
  $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

export PROGRAMS LEARNERS REDIS_URL CREDENTIALS_URL DISCOVERY_URL JWT_SECRET_KEY JWT_ISSUER JWT_AUDIENCE
export FILE SAMPLE SEED QUICK
export BUS KAFKA KAFKA_BOOTSTRAP_SERVERS SCHEMA_REGISTRY_URL

# The tests that `make test` runs; the longer suites have commands of their own.
RUNS := testbed/tests/run/test_run.py testbed/tests/change/test_cutover.py
SHORT := not (cutover or fault or kafka or mysql or parts or scale or tutor) or representative

.DEFAULT_GOAL := help
.PHONY: help requirements run test test-run test-e2e test-unit benchmark test-change test-mysql test-kafka test-parts test-scale test-tutor test-company mutation faults apply verify quality docs compile-requirements clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 24

requirements: $(INSTALLED)  ## create .venv and install the pinned requirements

$(INSTALLED): requirements/edx/development.txt setup.py
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer was not found; name one with PYTHON=" >&2; exit 2; }
	@$(PYTHON) requirements/install.py $@ $^

run: $(INSTALLED)  ## watch a certificate become an event (BUS=kafka, KAFKA=, PROGRAMS=, LEARNERS=, REDIS_URL=)
	@$(BIN)/python -m testbed.run

test: $(INSTALLED)  ## run the whole suite, in three parts beside each other: most of the time is spent waiting
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=line test-run test-e2e test-unit

test-run: $(INSTALLED)
	$(BIN)/python -m pytest -rs --durations=10 $(RUNS) -m "$(SHORT)"

test-e2e: $(INSTALLED)
	$(BIN)/python -m pytest -rs --durations=10 --ignore=testbed/tests/checks $(RUNS:%=--ignore=%) -m "e2e and ($(SHORT))"

test-unit: $(INSTALLED)
	$(BIN)/python -m pytest -rs --durations=10 --ignore=testbed/tests/checks -m "not e2e and ($(SHORT))"

test-change: $(INSTALLED)  ## run the whole cut-over, and the properties with all their examples (EXAMPLES=)
	EXAMPLES=$${EXAMPLES:-200} $(BIN)/python -m pytest -rs testbed/tests/change/test_cutover.py testbed/tests/change/test_*_properties.py

test-mysql: $(INSTALLED)  ## run the tests on a MySQL-protocol server (MYSQL_URL=, or an installed MariaDB)
	@$(BIN)/python -m testbed.servers.mysql
	$(BIN)/python -m pytest -m mysql testbed/tests/change/test_mysql.py

test-kafka: $(INSTALLED)  ## run the tests on Kafka, and print the table of their faults (KAFKA=apache or mock)
	@KAFKA=$$($(BIN)/python -m testbed.servers.kafka) && export KAFKA && $(BIN)/python -m pytest -rs -m kafka testbed/tests

test-scale: $(INSTALLED)  ## run the tests on large sites: 100,000 certificates, a million learners
	$(BIN)/python -m pytest -rs -m scale testbed/tests

test-parts: $(INSTALLED)  ## apply each part of the change, and run its tests
	$(BIN)/python -m pytest -rs -m parts scripts

test-tutor: $(INSTALLED)  ## render the operators' Tutor plugin with each line of Tutor (downloads them)
	$(BIN)/python -m pytest -rs -m tutor testbed/tests/pages/test_tutor.py

test-company: $(INSTALLED)  ## run the tests of the change in random orders, beside a thread that they must not hinder
	$(BIN)/python -m testbed.checks.company

mutation: $(INSTALLED)  ## look for code of the change that no test misses (FILE=, SAMPLE=, SEED=)
	@$(BIN)/python -m testbed.checks.mutation

benchmark: $(VENV)/.benchmark  ## measure what publishing costs (QUICK=1: in two minutes, and roughly)
	@$(BIN)/python -m benchmarks

$(VENV)/.benchmark: requirements/benchmark.txt $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

faults: $(INSTALLED)  ## run the fault suite on Redis, and print its table
	$(BIN)/python -m pytest -m fault testbed/tests/faults/test_faults.py testbed/tests/faults/test_repair_faults.py

apply: $(INSTALLED)  ## carry the change into a checkout of the platform (PLATFORM=path)
	@$(BIN)/python scripts/apply_to_platform.py "$(PLATFORM)"

verify: $(INSTALLED)  ## run the gates of a checkout of the platform on the change (PLATFORM=path, PLATFORM_VENV=path)
	@$(BIN)/python scripts/verify_in_platform.py "$(PLATFORM)" $(if $(PLATFORM_VENV),--venv "$(PLATFORM_VENV)")

quality: $(INSTALLED) docs  ## ruff, mypy, the platform's gates, imports, annotations, the pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m testbed.checks.platform_gates
	$(BIN)/python -m pytest -q testbed/tests/checks
	$(BIN)/python manage.py cms --settings test check
	$(BIN)/lint-imports --no-cache
	$(BIN)/code_annotations static_find_annotations --config_file .annotations.yml --source_path lms --no_report
	$(BIN)/code_annotations static_find_annotations --config_file .annotations.yml --source_path openedx --no_report

docs: $(INSTALLED)  ## render the operators' pages into docs/_build
	$(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going -c docs openedx/core/djangoapps/programs/docs docs/_build

compile-requirements: $(INSTALLED)  ## pin requirements/edx/*.in and requirements/benchmark.in anew
	for name in edx/base edx/testing edx/development benchmark; do \
	  (cd requirements/$$(dirname $$name) && $(abspath $(BIN))/uv pip compile --quiet --upgrade --universal \
	    --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command "make compile-requirements" \
	    $$(basename $$name).in --output-file $$(basename $$name).txt) || exit 1; \
	done

clean:  ## remove what was installed
	rm -rf $(VENV) .tutor .kafka
