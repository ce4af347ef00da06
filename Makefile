# `make demo` runs the whole method on a toy task. `make test` runs all checks and the fast tests,
# `make test-slow` the slow ones, `make test-long` those that CI leaves out. All set up .venv first if needed.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-long check doctor clean
demo: $(READY)
	$(BIN)/skipthink demo

test: $(READY) check
	$(BIN)/python -m pytest -n 2 --dist loadscope --durations 15 -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --maxschedchunk 1 --durations 15 -m "slow and not long"

test-long: $(READY)
	$(BIN)/python -m pytest -n 2 --maxschedchunk 1 --durations 15 -m long

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

doctor: $(READY)
	$(BIN)/skipthink doctor

# pip compiles modules on one CPU, compileall on all. Left out, every process would compile them again if
# PYTHONDONTWRITEBYTECODE is set. The doctor also compiles DeepSpeed's CPU op, so that later runs do not wait.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib skipthink_ray > /dev/null || true  # some are for a newer Python
	-$(BIN)/skipthink doctor
	touch $@

clean:
	rm -rf $(VENV) runs
