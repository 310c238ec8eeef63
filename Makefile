# The newcomer's commands: `make run`, `make test`. `make help` lists the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
CORES ?= all
EXPERIMENT ?= arch_summary
FUZZ_SECONDS ?= 600
COVERAGE := .pytest_cache/coverage.json
RESULTS = $(addprefix results/$(EXPERIMENT)/,best_model.pt metrics.json tokens.h5 report.html)

.DEFAULT_GOAL := help
.PHONY: help setup run all repeat test test-slurm bench fuzz faults coverage mutate lint audit format quality
.PHONY: troubleshooting docs lock hashes clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(READY) ## Create .venv from the pinned packages, checked by their hashes

$(READY): envs/requirements.lock envs/requirements.hashes pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "spinlock needs Python 3.11 to 3.13; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement envs/requirements.hashes
	$(BIN)/python -m pip install --quiet --requirement envs/requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

run: $(READY) ## Simulate operators and train the default experiment (EXPERIMENT=…, CORES=…)
	snakemake --cores $(CORES) results/$(EXPERIMENT)/best_model.pt

all: $(READY) ## The same, with metrics, tokens, figures and report
	snakemake --cores $(CORES) $(RESULTS)

repeat: all ## Make them once more from the dataset: is every file the same, byte for byte?
	find results/$(EXPERIMENT) -type f ! -name '.*' ! -path '*/logs/*' ! -path '*/benchmarks/*' \
	  -exec sha256sum {} + > results/$(EXPERIMENT)/.first
	snakemake --cores $(CORES) --forcerun subset -- $(RESULTS)
	sha256sum --quiet --check results/$(EXPERIMENT)/.first
	@echo "the same: $$(wc -l < results/$(EXPERIMENT)/.first) files"

# of as many processes as cores, each thread would wait for those of the others
test coverage: export OMP_NUM_THREADS = 1
test: $(READY) ## Run the tests (no GPU, no network)
	pytest --numprocesses auto --dist loadscope tests

test-slurm: $(READY) ## Run the workflow on a real one-node Slurm (root on Debian; SPINLOCK_SLURM_FULL=1: all operators)
	pytest -m slurm tests/slurm

bench: $(READY) ## Measure speed and memory beside references into benchmarks/results.md
	snakemake --cores $(CORES) results/arch_summary/subset.h5  # simulates the operators to train on
	python -m benchmarks

fuzz: $(READY) ## Fuzz the readers of files with new examples (FUZZ_SECONDS=600)
	HYPOTHESIS_PROFILE=fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) pytest tests/fuzz

faults: $(READY) ## Kill every stage at 20 moments, the report too
	FAULT_MOMENTS=20 pytest tests/faults

# forks that work in another folder would leave their data there
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage
coverage: $(READY) ## Run the tests and measure which lines and branches of spinlock/ they reach
	pytest --numprocesses auto --dist loadscope --cov --cov-report term-missing:skip-covered \
	  --cov-report json:$(COVERAGE) tests
	python -m tests.coverage_shares $(COVERAGE)

mutate: $(READY) ## Put small mistakes into nine modules: do their tests notice? (half an hour)
	python -c 'import cosmic_ray' 2> /dev/null || pip install --quiet 'cosmic-ray>=8.7,<9'
	python -m tests.mutation --jobs $$(nproc)

lint: $(READY) ## Check style, import contracts, spelling, settings and workflow
	ruff check .
	ruff format --check .
	lint-imports
	codespell
	bandit --quiet --recursive spinlock --configfile pyproject.toml
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	poetry check
	python envs/audit.py

audit: $(READY) ## Look for known vulnerabilities of the pinned packages (needs pip-audit, network)
	python envs/audit.py

format: $(READY) ## Format Python and Snakemake files
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

quality: $(READY) ## Measure the tokens beside other quantisers, on many tables (hours)
	python -m benchmarks.quality

troubleshooting: $(READY) ## Try each advice on tuning, and show before and after
	python -m benchmarks.troubleshooting

docs: $(READY) ## Write what is generated: templates of settings, blocks of pages, pictures
	python docs/make.py

hashes: ## Look up the hashes of what envs/requirements.lock names
	$(PYTHON) envs/lock.py hashes

lock: ## Resolve the newest packages that pyproject.toml allows into envs/requirements.lock
	$(PYTHON) envs/lock.py

clean: ## Remove the environment and caches; datasets and results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
