# `make demo` and `make test` set up all that they need; nothing is installed outside .venv.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo
export PYTHONUNBUFFERED := 1
# One thread a process: two training processes share the cores, and results do not depend on their number.
export OMP_NUM_THREADS := 1

.PHONY: demo test lint format setup clean

demo: export CUDA_VISIBLE_DEVICES :=
demo: .venv/installed
	$(BIN)/blvnet-shard demo $(DEMO)/videos
	$(BIN)/blvnet-shard build --dataset sthv2 --annotations $(DEMO)/videos --videos $(DEMO)/videos/20bn-something-something-v2 --out $(DEMO)/shards --workers 2
	$(BIN)/torchrun --standalone --nproc-per-node 2 -m pipeline.train --config configs/demo.yaml data.root=$(DEMO)/shards run.folder=$(DEMO)/run
	$(BIN)/torchrun --standalone --nproc-per-node 2 -m pipeline.evaluate --checkpoint $(DEMO)/run --data $(DEMO)/shards/validation --out $(DEMO)/run
	$(BIN)/python -m pipeline.summary $(DEMO)/run
	$(BIN)/python -m pipeline.report $(DEMO)/run

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: .venv/installed

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
