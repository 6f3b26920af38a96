# Everything happens in .venv; no account, no GPU and no network beyond the package registry is needed.
# Another build of torch: make repro PIP_ARGS="--extra-index-url <the address the PyTorch install page prints>"
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := "$(CURDIR)/.venv/bin"
# stages run as `python -m stages.X`, so the environment's commands must come first
RUN := PATH=$(BIN):"$$PATH"
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
PORT ?= 5000

.DEFAULT_GOAL := help
.PHONY: help install repro test test-scale lint coverage ui clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

install: $(VENV)/.installed  ## create .venv and install Podium into it

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@grep -q MLFLOW_DISABLE_TELEMETRY $(VENV)/bin/activate || \
	  printf '\nexport MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true DVC_NO_ANALYTICS=1\n' >> $(VENV)/bin/activate
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

repro: install  ## fetch the sample, rebuild the whole experiment, print the leaderboard
	@git rev-parse --git-dir > /dev/null 2>&1 || { echo "error: $(CURDIR) is in no git repository, which DVC needs:" \
	  "clone it with git, or run: git init && git add -A && git commit -m start" >&2; exit 1; }
	@$(RUN) podium doctor --repair
	$(RUN) dvc pull --quiet data.dvc
	$(RUN) dvc repro
	@$(RUN) podium status

lint: $(VENV)/.installed-dev  ## style, types and import rules
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

test: lint  ## lint, then the whole test suite
	$(RUN) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-scale: $(VENV)/.installed-dev  ## the tests on a Ray cluster, which takes several processes
	$(RUN) python -m pytest -m slow tests/scale

coverage: $(VENV)/.installed-dev  ## the tests once more, counting the lines they reach; a report, no gate
	$(RUN) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

# The first port from $(PORT) on that nobody listens at and that browsers open; one worker, and none of the services for
# jobs of language models
FREE_PORT := import socket, sys; refused = {5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}; \
  print(next(p for p in range(int(sys.argv[1]), 65536) if p not in refused and socket.socket().connect_ex(("127.0.0.1", p))))
ui: install  ## the MLflow UI on http://127.0.0.1:5000, or the next free port (PORT=... to begin elsewhere)
	@port=$$($(BIN)/python -c '$(FREE_PORT)' $(PORT)); \
	echo "MLflow: http://127.0.0.1:$$port/#/experiments?workflowType=machine_learning  (ready in half a minute; Ctrl-C ends it)"; \
	echo "An experiment opens in the view for agents: choose 'Model training' at the top left"; \
	$(RUN) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 \
	  --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --host 127.0.0.1 --port $$port

clean:  ## remove what can be rebuilt: results, caches, work in progress; keeps .venv, data/ and MLflow's store
	rm -rf artifacts .podium reports/report.html reports/report.md .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
