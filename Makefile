# Every target makes its own .venv the first time (needs Python >= 3.11) and reuses it after. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# the main experiment
CLASS  ?= automobile
PRESET ?= fast
PRIOR  ?= gaussian
EPOCHS ?=
SEED   ?= 0
# its folder: the class, and whatever else was asked for that is not the default
empty  :=
space  := $(empty) $(empty)
OUT    ?= results/runs/$(subst $(space),-,$(strip $(or $(strip $(CLASS)),all) $(filter-out fast,$(PRESET)) \
          $(filter-out gaussian,$(PRIOR)) $(addprefix s,$(filter-out 0,$(SEED)))))
RUN    ?= $(OUT)

# the noise study: its name, one condition alone, and its folder, a new dated one with FRESH=1
STUDY     ?= noise-study
CONDITION ?=
STUDY_OUT ?= results/$(STUDY)$(if $(FRESH),-$(shell date +%Y-%m-%d-%H%M))

# a relative path must mean the same to a kernel that starts elsewhere
ifdef GANLAB_DATA
export GANLAB_DATA := $(abspath $(GANLAB_DATA))
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo experiment tutorial evaluate noise-study presets report bench lab explore site test test-unit test-slow test-browser faults constraints lint

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed  ## the environment, .venv, alone: every target below makes it if it is missing

demo: $(VENV)/installed  ## a GAN learns to draw shapes; three minutes, no download; results/demo/experiment.ipynb
	$(BIN)/ganlab experiment --dataset shapes --preset conv-noise --conditional --epochs 12 --snapshot-epochs 1 2 3 4 6 8 10 12 --out results/demo

experiment: $(VENV)/installed  ## CIFAR-10: CLASS= (none: all ten) PRESET= PRIOR= EPOCHS= (the preset's) SEED= OUT=
	$(BIN)/ganlab experiment --preset $(PRESET) --classes $(CLASS) --prior $(PRIOR) $(if $(EPOCHS),--epochs $(EPOCHS)) --seed $(SEED) --out $(OUT)

tutorial: $(VENV)/installed  ## a GAN step by step, two minutes without a data set: results/tutorial/tutorial.ipynb
	$(BIN)/ganlab tutorial

evaluate: $(VENV)/installed  ## score a finished run beside its real-vs-real floor: RUN=
	$(BIN)/ganlab evaluate --run $(RUN) --notebook

noise-study: $(VENV)/installed  ## says what it runs and for how long, then does; resumes: STUDY=quick CONDITION=P1 SCHEDULER=tls://host:8786 FRESH=1
	$(BIN)/ganlab study --study $(STUDY) --out $(STUDY_OUT) $(if $(CONDITION),--condition $(CONDITION)) $(if $(SCHEDULER),--scheduler $(SCHEDULER))

presets: $(VENV)/installed  ## every preset side by side, at equal minutes and equal images; resumes; results/presets
	$(BIN)/ganlab study --study presets --out results/presets $(if $(SCHEDULER),--scheduler $(SCHEDULER))

report: $(VENV)/installed  ## index of all results: results/README.md, and the explorer rendered with stills
	$(BIN)/ganlab report

bench: $(VENV)/installed  ## images per second beside plain PyTorch and the machine's limit; results/bench/
	$(BIN)/ganlab bench

lab: $(VENV)/installed  ## JupyterLab in the notebooks folder; ARGS= for more of its options
	$(BIN)/jupyter lab --ServerApp.root_dir=. --FileContentsManager.preferred_dir=notebooks $(ARGS)

explore: $(VENV)/installed  ## the explorer's sliders as a page without code, on this machine only; ARGS= as for lab
	$(BIN)/jupyter server --ServerApp.root_dir=. --ServerApp.default_url=/voila/render/notebooks/explorer.ipynb \
	  --ServerApp.open_browser=True $(ARGS)

site: $(VENV)/installed-site  ## a web page of its own: sliders that run in the browser, and all results; site/
	$(BIN)/ganlab site

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/installed-dev  ## the whole test suite, one single-threaded process a core
	$(PYTEST)

test-unit: $(VENV)/installed-dev  ## only its quick tests
	$(PYTEST) -m unit

test-slow: $(VENV)/installed-dev  ## only its tests with real kernels, killed processes and Dask
	$(PYTEST) -m slow

test-browser: $(VENV)/installed-dev  ## only its tests in Chromium
	$(PYTEST) -m browser

faults: $(VENV)/installed-dev  ## every crash, torn file and full disk there is, 10,000 malformed files; results/faults.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults.py

constraints: test  ## constraints.txt: the versions with which the tests have just passed
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/ @ .*//; s/\+[a-z0-9.]+$$//' | grep '==' > constraints.txt

lint: $(VENV)/installed-dev  ## ruff, and what committed notebooks, pictures and pages must not hold
	$(BIN)/ruff check .
	$(BIN)/python tests/check_pages.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ganlab needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# nbconvert's default template leaves out the words that stand for a picture: the environment's settings name another
NBCONVERT := notebooks/jupyter_nbconvert_config.json

$(VENV)/installed: pyproject.toml $(NBCONVERT) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@cp $(NBCONVERT) $(VENV)/etc/jupyter
	@touch $@

$(VENV)/installed-site: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e '.[site]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(NBCONVERT) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@cp $(NBCONVERT) $(VENV)/etc/jupyter
	@touch $@ $(VENV)/installed $(VENV)/installed-site
