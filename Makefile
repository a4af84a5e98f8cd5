# make            build .venv/ with everything that development needs
# make demo       run the main job on sample mails
# make test       run the tests
# make docs       build the site of the documentation in site/
# make bench      measure: reading, polls, replays, imports, start-up
# make bench-large  the same at full size, hostile mail, mutations, a watch for two hours: four hours
# make audit      ask for known weaknesses of installed packages (network)
# make rules      write the quick form of the rules anew, after a change of a rule
# make check      what CI checks beside the tests: lint, format, types, import contracts

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: all rules demo test docs bench bench-large check lint types contracts audit clean

all: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bounceparse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/pip install --quiet --editable '.[demo,dkim,google,microsoft,postgresql,web]' --group dev
	@touch $@

demo: $(READY)
	$(VENV)/bin/bounceparse demo

test: $(READY)
	$(VENV)/bin/python -m pytest -n auto

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo 'site/ is built; to read it with its search: $(PYTHON) -m http.server -b 127.0.0.1 -d site'

bench: $(READY)
	$(VENV)/bin/python benchmarks/parse.py --rounds 5
	$(VENV)/bin/python benchmarks/imports.py
	$(VENV)/bin/python benchmarks/health.py --rows 200000 --day 100000
	$(VENV)/bin/python benchmarks/standing.py
	$(VENV)/bin/python benchmarks/panel.py
	$(VENV)/bin/python benchmarks/startup.py
	$(VENV)/bin/python benchmarks/poll.py --mails 2000 --ledger 50000
	$(VENV)/bin/python benchmarks/replay.py --mails 5000
	$(VENV)/bin/python benchmarks/ledger_import.py
	$(VENV)/bin/python benchmarks/growth.py

bench-large: $(READY)
	$(VENV)/bin/python benchmarks/poll.py --mails 20000 --ledger 1000000
	$(VENV)/bin/python benchmarks/poll.py --mails 20000 --ledger 1000000 --delay 30
	$(VENV)/bin/python benchmarks/poll.py --mails 2000 --ledger 50000 --large 100000000 --rounds 1
	$(VENV)/bin/python benchmarks/replay.py --mails 200000 --rounds 1
	$(VENV)/bin/python benchmarks/ledger_import.py --rows 1000000
	$(VENV)/bin/python benchmarks/growth.py --outcomes 5000000 --sent 10000000
	$(VENV)/bin/python benchmarks/panel.py --outcomes 2000000
	$(VENV)/bin/python benchmarks/hostile.py --repetition
	$(VENV)/bin/python benchmarks/fuzz.py --executions 1000000 --jobs 2
	$(VENV)/bin/python benchmarks/soak.py --minutes 60
	$(VENV)/bin/python benchmarks/soak.py --minutes 60 --database postgresql

check: lint types contracts

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: $(READY)
	$(VENV)/bin/mypy

contracts: $(READY)
	$(VENV)/bin/lint-imports

# Asks the index of advisories about every installed package, with a tool of its own environment; needs the network.
audit: $(READY)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet pip-audit
	@$(VENV)/audit/bin/pip-audit --strict --skip-editable --progress-spinner off \
		--path "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >$(VENV)/audit/log 2>&1; \
	status=$$?; cat $(VENV)/audit/log; \
	if grep -qiE 'could not be audited|connection|retries|timed out|resolve' $(VENV)/audit/log; then \
		echo "make audit: NOT DONE: the index of advisories does not answer for every package; nothing is known of the rest" >&2; \
		exit 1; \
	fi; exit $$status

# Writes the quick form of the rules anew; a test compares it with the TOML files.
rules: $(READY)
	$(VENV)/bin/python -m bounceparse.rules.packaged

clean:
	rm -rf $(VENV) bounceparse-demo build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
