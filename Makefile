# What a newcomer needs; `make` alone lists the goals.

PYTHON ?= python3
OUT ?= demo-output

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help env demo test test-services lint bench torture clean

help: ## List the goals
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r goal text; do \
	    printf 'make %-13s %s\n' "$$goal" "$$text"; done
	@echo "PYTHON=python3.12 names another interpreter (3.11 or newer), OUT=folder another place for the demo."

env: $(READY) ## Make the environment .venv with the tested versions of constraints.txt

# Made again when dependencies change. Only constraints.txt says which torch; where it comes from, and so
# whether it is the CPU's or CUDA's build of that version, is for pip's own configuration to say.
# pip before 25.1 doesn't know --group.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "error: Python 3.11 or newer is needed, but \`$(PYTHON) --version\` says:" \
	        "$$($(PYTHON) --version 2>&1 | head -n 1). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the versions of constraints.txt into .venv; this takes a few minutes and about 2 GB," \
	    "with torch's build for CUDA, which is pip's default on Linux, several GB more."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet 'pip>=25.1'
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all]' --group dev
	@touch $@

demo: $(READY) ## Render the demo benchmark, run all stages on it, print the table
	@$(BIN)/sync-demo run $(OUT)

test: lint ## Run the checks of lint, then the tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder  # a thread a process, a file on one of them

test-services: $(READY) ## Run the long tests: Slurm, S3, the images, faults, hostile input
	@tests/services/run.sh

lint: $(READY) ## Check style, types, import contracts and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

bench: $(READY) ## Measure speed; results go to benchmarks/results
	$(BIN)/python -m benchmarks.read_store
	$(BIN)/python -m benchmarks.open_store
	$(BIN)/python -m benchmarks.write_store
	$(BIN)/python -m benchmarks.codecs
	$(BIN)/python -m benchmarks.import_lmdb
	$(BIN)/python -m benchmarks.decoding
	$(BIN)/python -m benchmarks.extraction
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.teacher_epoch
	$(BIN)/python -m benchmarks.teacher_loss
	$(BIN)/python -m benchmarks.distillation_epoch
	$(BIN)/python -m benchmarks.sdtw
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.start_up
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.gpu  # says so where there is no GPU

torture: $(READY) ## End commands at 50 moments each, run them again, compare all files
	$(BIN)/python tests/faults/torture.py --times 50 --signal SIGKILL --signal SIGTERM

clean: ## Delete the environment, caches and demo-output
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
