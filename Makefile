# make demo   sets everything up, then runs the study on the embedded tiny world
# make test   sets everything up, then runs the tests
# make test-integration   what takes minutes: wandb whose server, disk or job fails, a killed build,
#                         the commands of the documentation on the miniature models
# make test-cluster   on a real SLURM cluster that it starts on this machine; needs root, and
#                     apt-get install slurm-wlm slurmdbd munge mariadb-server
# make test-published   the published architectures, with random weights at reduced depth
# make test-compiled    models that torch compiles, which takes it minutes
# make test-browser     the report in Debian's chromium (apt-get install chromium chromium-driver)
# make verify-published   the same at full depth: docs/models.md
#
# Everything lives in .venv here: no root, no system packages. Another Python: make PYTHON=... test

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test test-browser test-cluster test-compiled test-integration test-published verify-published lint typecheck wheel clean
# Libraries are compiled once, not in every process: an import then takes half as long.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:

demo: .venv/ready
	@echo 'Running the demo: vwtransfer experiment=demo'
	@$(BIN)/vwtransfer experiment=demo

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test-browser: .venv/ready
	$(BIN)/pytest -m browser tests/browser

test-cluster: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile -m cluster tests/cluster

test-compiled: .venv/ready
	$(BIN)/pytest -m compiled tests/speed

test-integration: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m integration tests/tracking tests/test_tinyworld.py tests/config/test_docs.py tests/config/test_docs_run.py

test-published: .venv/ready
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder -m published tests/published

verify-published: .venv/ready
	PYTHONPATH=tests HF_HUB_OFFLINE=1 $(BIN)/python tests/published/full.py $(MODELS)

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

typecheck: .venv/ready
	$(BIN)/mypy

# what is installed elsewhere: the package, its configs and its weights
wheel: .venv/ready
	if test -x $(BIN)/uv; then $(BIN)/uv build --quiet --wheel --out-dir dist; \
	else $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .; fi

# uv installs in seconds what takes pip minutes; where it cannot be had, pip does it.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@echo 'Making .venv with $(PYTHON) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  $(PYTHON) -m venv --clear --without-pip .venv \
	  && $(PYTHON) -m pip --python $(BIN)/python install --quiet uv; } || { \
	  echo 'No environment can be made: install python3-venv, or pip.' >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || true
	@echo 'Installing torch, diffusers and the rest: 6.3 GB in .venv, minutes ...'
	@if test -x $(BIN)/uv; then \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@
	@echo 'Installed.'

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
