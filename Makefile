# Every target sets up what it needs by itself. `make help` lists them.
PROFILE ?= ci
PYTHON ?= python3
PORT ?= 8000
FORCE ?=
BIN := .venv/bin
READY := .venv/.ready
# Hundreds of processes import torch: what one of them compiles, the others find.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test gpu book lab lint format serve lock address clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18
	@echo "  PROFILE=ci|cpu|gpu  how much to compute (now: $(PROFILE));  FORCE=1  execute every notebook again"

setup: $(READY)  ## make .venv from requirements.lock, again when the lock changes

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, {sys.executable} is {v}: try make PYTHON=python3.11")'
	@echo "setting up .venv (once, some minutes: the packages of requirements.lock)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --no-compile -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $@

test: setup  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

OUT ?= gpu
MINUTES ?= 9

gpu:  ## measure a GPU in MINUTES=9 with the machine's own torch, into OUT=gpu; ARGS=--dry tries it without one
	$(PYTHON) book/record/gpu.py --minutes $(MINUTES) --out $(OUT) $(ARGS)

book: setup  ## execute what changed, then render _build/html
	$(BIN)/python book/build.py --profile $(PROFILE) $(if $(FORCE),--force)

lab: setup  ## open the chapters in JupyterLab
	JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(BIN)/jupyter lab --notebook-dir=book

lint: setup  ## check style: ruff, notebooks without outputs, imports one way
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify book/*/*.ipynb
	$(BIN)/lint-imports --no-cache

format: setup  ## fix what make lint finds
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
	$(BIN)/nbstripout book/*/*.ipynb

serve: book  ## show the book at http://localhost:$PORT
	$(BIN)/python -m http.server --directory _build/html $(PORT)

lock: setup  ## pin what pyproject.toml newly asks for; ARGS=--upgrade renews every pin
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --extra book --extra test $(ARGS) -o requirements.lock pyproject.toml
	sed -i.bak 's/+cpu$$//' requirements.lock && rm requirements.lock.bak

address:  ## write REPOSITORY=owner/name into the Colab line of every chapter
	@test -n "$(REPOSITORY)" || { echo "say make address REPOSITORY=owner/name"; exit 1; }
	sed -i.bak -E 's#github.com/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+\\"#github.com/$(REPOSITORY)\\"#' book/*/*.ipynb
	rm -f book/*/*.bak

clean:  ## delete all that was built; the next make starts from nothing
	rm -rf _build .venv
