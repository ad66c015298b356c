# make repro   environment, data, every stage of the pipeline, the ledger and the site
# make test    environment, then all tests (each notebook at smoke, then pytest)
# JOBS=2       papers at a time in make repro; the bytes of the results do not depend on it
JOBS ?= 1
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# one thread per notebook: same bytes on every run, and faster side by side
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export DVC_NO_ANALYTICS := 1

.PHONY: help env data repro test test-notebooks test-python check site bench lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@echo "prox-repro: make TARGET"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(VENV)/.ready  ## make .venv from the lock file

$(VENV)/.ready: requirements.lock settings.ini setup.py pyproject.toml
	@echo "==> environment: installing $$(grep -c == requirements.lock) packages from requirements.lock into $(VENV) (some minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "prox-repro needs Python 3.11 or newer; say make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock 2>.pip-errors \
		|| { grep -v '^WARNING: Location' .pip-errors; rm -f .pip-errors; exit 1; }
	@rm -f .pip-errors
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . 2>/dev/null
	@touch $@

data: env  ## fetch the data sets from the repository's own store, and verify them
	@echo "==> data: fetching and verifying"
	@prox-repro data pull

repro: data  ## reproduce everything: figures, tables, claims, ledger, site
	@echo "==> pipeline: $$(prox-repro list | wc -l) papers at profile $$(sed -n 's/^profile: *//p' params.yaml), then ledger and site"
	@if [ "$(JOBS)" = 1 ]; then dvc repro && prox-repro pipeline --sort-lock; else prox-repro repro -j $(JOBS); fi
	@prox-repro claims | tail -n 1
	@echo "==> done: open _site/index.html"

test: data test-notebooks test-python  ## run all tests

test-notebooks: data  ## every notebook at smoke, through nbdev
	@echo "==> notebooks: $$(find nbs -name '*.ipynb' | wc -l) notebooks at profile smoke"
	@cd nbs && PROX_REPRO_PROFILE=smoke nbdev_test --timing --n_workers 2

test-python: data  ## pytest
	@echo "==> pytest"
	@pytest -q -n 2 --dist loadfile tests

check: env  ## prove that nothing generated is stale
	@prox-repro export --check
	@prox-repro pipeline --check

site: env  ## render the site alone
	@prox-repro site

bench: env  ## compare speed with other libraries and print the ratios
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-bench.lock 2>/dev/null
	@$(BIN)/python benchmarks/ratios.py

lock:  ## renew requirements.lock from settings.ini (needs the package index)
	@tools/lock.sh

clean:  ## remove what the commands above made, results excepted
	rm -rf $(VENV) _proc _site build runs .pytest_cache .hypothesis
