# What a developer types; CONTRIBUTING.md says more. Run in an environment with `pip install -e ".[test]"`.

PYTHON ?= python
TESTS ?=
BEFORE ?=

.PHONY: help check test shots bench api matrix

help:
	@echo "make check                      lint, format and types"
	@echo "make test                       all tests; TESTS=tests/cli: only these"
	@echo "make shots                      redraw figures, example workflows and README tables;"
	@echo "                                with EXACT_VAE_COMFYUI=<its folder> the screenshots as well"
	@echo "make matrix                     some tests in each Python and torch that is promised; needs nox"
	@echo "make api                        write the reference of the Python API to build/api, from docstrings"
	@echo "make bench                      files entered, lengths, import time; BEFORE=<a checkout>: beside another"

check:
	ruff check .
	ruff format --check .
	pyright

test:
	$(PYTHON) -m pytest $(TESTS)

shots:
	$(PYTHON) docs/readme_tables.py
	$(PYTHON) docs/workflows --thumbnails
	$(PYTHON) docs/figures
	$(PYTHON) docs/doctor_image.py
	$(PYTHON) docs/registry_images.py
ifdef EXACT_VAE_COMFYUI
	$(PYTHON) docs/screenshots --comfyui "$(EXACT_VAE_COMFYUI)"
else
	@echo "The screenshots were left as they are: they need EXACT_VAE_COMFYUI=<ComfyUI's folder>, Chromium and selenium."
endif

matrix:
	$(PYTHON) -m nox -f tests/noxfile.py

api:
	$(PYTHON) docs/api.py build/api

bench:
	$(PYTHON) benchmarks/house.py $(if $(BEFORE),--before "$(BEFORE)")
