# Everything a newcomer needs; `make help` lists it. Needs Python 3.10 to 3.13 and make.
PYTHON ?= python3
SEEDS ?= 1
SMOLLM2 ?= HuggingFaceTB/SmolLM2-135M-Instruct
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help

help:  ## list these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first: what follows then keeps this build. On Linux pip's comes with 2.5 GB of CUDA, no use without a GPU:
# `make setup TORCH_BACKEND=cpu` lets uv find the build for CPUs (auto: the one for the driver).
ifdef TORCH_BACKEND
INSTALL_TORCH := uv pip install --quiet --python $(BIN)/python --torch-backend $(TORCH_BACKEND)
else
INSTALL_TORCH := pip install --quiet
endif

# uv is faster than pip, which knows a mirror that only its own settings name. Compiled now, as pip does, or a first start
# of every command compiles: with PYTHONDONTWRITEBYTECODE set every start does, and `semalign data --help` takes 2.5 s.
export UV_COMPILE_BYTECODE := 1
DEV := --constraint constraints.txt --editable ".[dev]"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'semalign-pl needs Python 3.10 or newer; set PYTHON=')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/$(INSTALL_TORCH) --constraint constraints.txt torch
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(DEV) || $(BIN)/pip install --quiet $(DEV)
	@touch $@

setup: $(READY)  ## make the virtual environment in .venv (without a GPU: TORCH_BACKEND=cpu)

runs/quickstart/world: | $(READY)
	$(BIN)/python -m semalign_pl.toy write $@

quickstart: runs/quickstart/world  ## base, cold start, strong SFT, semantic GRPO; frontier and report (SEEDS=3 for spread)
	$(BIN)/semalign study --config configs/quickstart --out runs/quickstart --seeds $(SEEDS)

# Two processes of one thread each: two of two would stall each other at OpenMP's barriers. Files with slow tests are
# first (tests/conftest.py); xdist's own order has files of few tests last, which are the longest ones.
test: $(READY)  ## run the tests, on two cores
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 60

# Outside the checkout, as a user installs it: the wheel in an environment of its own, which trains two steps.
CLEAN := $(CURDIR)/runs/wheel
wheel:  ## build dist/*.whl, install it in a clean environment and train two steps there (without a GPU: TORCH_BACKEND=cpu)
	rm -rf dist $(CLEAN) && mkdir -p $(CLEAN)
	$(PYTHON) -m venv $(CLEAN)/venv
	$(CLEAN)/venv/bin/pip install --quiet --constraint constraints.txt uv
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(CLEAN)/venv/bin/$(subst $(BIN),$(CLEAN)/venv/bin,$(INSTALL_TORCH)) --constraint constraints.txt torch
	$(CLEAN)/venv/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cd $(CLEAN) && venv/bin/python -m semalign_pl.toy write runs/quickstart/world && venv/bin/semalign recipes
	cd $(CLEAN) && venv/bin/semalign fit --config configs/quickstart/cold_start.yaml --trainer.max_steps 2
	cd $(CLEAN) && venv/bin/semalign env

docs: $(READY)  ## build the documentation site in runs/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(READY)  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

ablation: runs/quickstart/world  ## the papers' reward ablation and the source as anchor, 3 seeds (an hour on two cores)
	$(BIN)/python benchmarks/ablation.py --seeds 3

frontier: runs/quickstart/world  ## strong SFT against semantic GRPO at equal quality, three learning rates each (SEEDS=5; 21 minutes per seed on one core)
	$(BIN)/python benchmarks/frontier_study.py --seeds $(SEEDS)

runs/quickstart/world/general/anchor.jsonl: | runs/quickstart/world
	rm -rf runs/quickstart/world  # of an earlier version; its files are written again, equal to the byte
	$(BIN)/python -m semalign_pl.toy write runs/quickstart/world

ladder: runs/quickstart/world/general/anchor.jsonl  ## methods against forgetting at equal quality, three learning rates each (SEEDS=5)
	$(BIN)/python benchmarks/ladder.py --seeds $(SEEDS)

keep: runs/quickstart/world/general/anchor.jsonl  ## replay and anchor in every stage against the best SFT, with controls (SEEDS=5)
	$(BIN)/python benchmarks/keep.py --seeds $(SEEDS)

map: $(READY)  ## when is semantic RL worth its cost: methods by pairs and style of the references (SEEDS=3; --dry-run says the hours)
	$(BIN)/python benchmarks/map.py --seeds $(SEEDS)

few-shot: $(READY)  ## headlines from few examples after translation, in three conditions of the map (SEEDS=3)
	$(BIN)/python benchmarks/few_shot.py --seeds $(SEEDS)

# Those of the tree are the ones to use: cells that were measured with other models make no table together.
map-models: $(READY)  ## train the models of the map anew, in runs/map_models (about 25 minutes on one core)
	$(BIN)/python -m semalign_pl.toy build --styles --out runs/map_models --base-batch 8

study: runs/quickstart/world  ## the paper's study: every row of its tables, for translation and headlines (SEEDS=5)
	$(BIN)/python benchmarks/study.py --seeds $(SEEDS)

dial: $(READY) runs/quickstart/world  ## the largest scale of strong SFT within a budget, on held-out questions
	$(BIN)/python benchmarks/dial.py

tax-budget: runs/quickstart/world  ## GRPO with and without a budget for general ability lost, 3 seeds (40 minutes)
	$(BIN)/python benchmarks/tax_budget.py --seeds 3

bench-grpo: $(READY) runs/quickstart/world data/smollm2  ## GRPO steps against TRL's, side by side (about half an hour on two cores)
	$(BIN)/python benchmarks/grpo.py
	$(BIN)/python benchmarks/grpo.py --size wide
	$(BIN)/python benchmarks/grpo.py --model data/smollm2
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/reward.py

data/mitra: | $(READY)
	$(BIN)/semalign data mitra

bench-embedder: $(READY) data/mitra  ## a sentence encoder from scratch on real pairs, which it downloads (6 minutes)
	$(BIN)/python benchmarks/embedder.py

data/cmrc2018: | $(READY)
	$(BIN)/semalign data cmrc2018

data/smollm2 data/choices data/blimp data/xquad data/sib200: | $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[real]"
	$(BIN)/semalign data $(notdir $@)

REAL := $(READY) data/smollm2 data/choices data/blimp data/xquad data/sib200
real: $(REAL)  ## a real model learns Dzongkha from your pairs in data/en_dz: encoders, SFT, keep, GRPO; results and page (hours)
	$(BIN)/python benchmarks/real.py --dry-run
	$(BIN)/python benchmarks/real.py

real-short: $(REAL)  ## the same with few pairs and without GRPO (40 minutes on two cores)
	$(BIN)/python benchmarks/real.py --config configs/real/short --out runs/real/short

bench-probes: $(READY) runs/quickstart/world data/cmrc2018  ## answers against transformers' generate, choices against each option alone
	$(BIN)/python benchmarks/probes.py
	$(BIN)/python benchmarks/probes.py --choices --name choices
	$(BIN)/python benchmarks/probes.py --name cmrc --base $(SMOLLM2) --questions data/cmrc2018/cmrc2018_trial.json --passages 18

bench-sft: $(READY) data/smollm2  ## SFT against TRL's with packing, side by side
	$(BIN)/python benchmarks/sft.py
	$(BIN)/python benchmarks/sft.py --size wide
	$(BIN)/python benchmarks/sft.py --model data/smollm2

bench-operations: $(READY)  ## operations of a training step per layer against TRL's, which are kernel launches on a GPU (a minute)
	$(BIN)/python benchmarks/operations.py

bench-rollout: $(READY)  ## rollouts against generate and an earlier commit, and a token against sorting (half an hour)
	$(BIN)/python benchmarks/rollout.py

bench-reuse: $(READY) quickstart  ## rollouts with the completions of the epoch before as drafts (10 minutes)
	$(BIN)/python benchmarks/reuse.py

bench-methods: $(READY)  ## the cost of a step with a KL or an anchor over the step without it
	$(BIN)/python benchmarks/methods.py

bench-data: $(READY) runs/quickstart/world data/mitra  ## corpus preparation against datasets.map, the cache, 5 million rows
	$(BIN)/python benchmarks/data.py

bench-vocabulary: $(READY)  ## SFT with and without new tokens, 3 seeds (half an hour)
	$(BIN)/python benchmarks/vocabulary.py --seeds 3

bench-overhead: $(READY) runs/quickstart/world  ## the share of the quickstart that is neither training nor testing (8 minutes)
	$(BIN)/python benchmarks/overhead.py

bench-loaded: $(READY) runs/quickstart/world  ## a step beside one busy process against an idle one (3 minutes, on an idle machine)
	$(BIN)/python benchmarks/loaded.py

bench-floor: $(READY)  ## a GRPO step over the least time its arithmetic needs
	$(BIN)/python benchmarks/floor.py

bench-frontier: quickstart  ## the cost of a point of a frontier against a separate semalign test
	$(BIN)/python benchmarks/frontier.py

cards: $(READY)  ## plan configs/cards anew
	$(BIN)/python benchmarks/cards.py configs/cards

toy: $(READY)  ## train the miniature world's weights anew (about 50 minutes on two cores)
	$(BIN)/python -m semalign_pl.toy build

clean:  ## remove the virtual environment, all runs and the cache of embeddings
	rm -rf $(VENV) runs .semalign_cache

.PHONY: help setup quickstart test wheel docs lint ablation frontier ladder keep map map-models few-shot study dial tax-budget bench-grpo bench-embedder real real-short bench-probes bench-sft bench-operations bench-rollout bench-reuse bench-methods bench-data bench-vocabulary bench-overhead bench-loaded bench-floor bench-frontier cards toy clean
