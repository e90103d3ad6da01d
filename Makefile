# Two commands on a fresh machine: `make demo` and `make test`. Only Python >= 3.11 and make are assumed.
PYTHON ?= python3
PYTHONS ?= $(PYTHON)  # those that `make package` installs the wheel for: the oldest and the newest at hand
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DEMO_PROMPT ?= a purple snowman
WORKERS ?= auto  # processes of the tests, by default one for each core, at most four; 0 runs them in pytest itself

.PHONY: demo test check docs notebooks package clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scoredistill needs Python >= 3.11, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/scoredistill generate "$(DEMO_PROMPT)" --out demo
	@echo "open demo/index.html or demo/mesh.glb"

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site
	@echo "open build/site/index.html"

notebooks: $(VENV)/.installed
	$(BIN)/python -m tools.notebooks build/notebooks

package: $(VENV)/.installed
	$(BIN)/python -m tools.check_package $(PYTHONS)

clean:
	rm -rf $(VENV) demo build dist docs/notebooks *.egg-info
