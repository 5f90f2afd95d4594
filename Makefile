# Two commands for a fresh machine: `make demo` and `make test`. Everything is installed into .venv by scripts/setup.sh.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint long conformance corpus bench bench-core bench-client bench-media bench-fairness lock clean

PY := .venv/bin/python
ROUNDS ?= 1
STORE ?= all
comma := ,
JOBS ?= 3
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadfile

help:  ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## Install everything into .venv (done by the others when needed).
	@sh scripts/setup.sh

demo: setup  ## Start the whole stack, ingest a sample clip, print the asset.
	@sh scripts/demo.sh

test: setup  ## Run all tests, JOBS files at a time (3).
	$(PYTEST)

lint: setup  ## Formatter, linter, strict types, import contracts.
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

long: setup  ## The same tests with many more rounds: make long ROUNDS=50
	RUSHES_TEST_ROUNDS=$(if $(filter 1,$(ROUNDS)),20,$(ROUNDS)) $(PYTEST) --timeout=7200

conformance: setup  ## The storage suite against STORE=seaweedfs, swift, ceph or all; `all` writes docs/stores.md.
	RUSHES_TEST_STORES=$(if $(filter all,$(STORE)),seaweedfs$(comma)swift$(comma)ceph,$(STORE)) \
	RUSHES_STORES_TABLE=$(if $(filter all,$(STORE)),docs/stores.md) $(PY) -m pytest tests/conformance

corpus: setup  ## Make a hundred good files, compare what is found in them and made of them; writes docs/corpus.md.
	$(PY) -m tests.corpus

bench: setup  ## Measure against named peers; see bench/RESULTS.md.
	$(PY) bench/signer.py

bench-core: setup  ## The upload core: URLs and sessions a CPU-second, traffic, 5 TB and 48.8 TiB, 1,000 uploads at once.
	$(PY) bench/signer.py
	$(PY) -m bench.core
	$(PY) -m bench.huge
	$(PY) -m bench.many

bench-client: setup  ## The client beside boto3, obstore, aws-cli, rclone, s5cmd, tuspy: sink, store, bad lines (20 min).
	$(PY) -m bench.client

bench-media: setup  ## Renditions beside one ffmpeg run an output and MediaCMS's recipe; what is readable when; workers.
	$(PY) -m bench.media

bench-fairness: setup  ## One tenant's file beside another's 200; 1,000 tenants with a job each; an idle worker (5 min).
	$(PY) -m bench.fairness

lock:  ## Renew requirements.lock from pyproject.toml (versions and hashes only).
	.venv/bin/pip install --quiet uv
	.venv/bin/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade --output-file requirements.lock

clean:  ## Remove what setup and tests made.
	rm -rf .venv .stores .corpus .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
