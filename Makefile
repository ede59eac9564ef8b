# Everything from a clean clone with Python 3.11 to 3.13, make and git.
PYTHON ?= python3.11
VENV := .venv

.PHONY: demo check test web docs lock release audit

demo: $(VENV)/.installed
	$(VENV)/bin/cxr-edge demo

# What runs while one works: no training, no export, nothing that takes seconds.
check: $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -m 'not model and not slow' -n 2 --dist loadfile

# Everything. One worker trains the model at first, the other does without; see tests/conftest.py. A worker that dies
# fails the run: with another in its place, pytest-xdist 3.8 runs its group again and may then wait forever.
test: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n 2 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0

# The page of cxr-edge web. Needs Node.js with npm, from whose registry come the packages that web/package-lock.json pins.
web: $(VENV)/.installed
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run check && npm run build
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable web

# No broken link, no page outside the navigation; into site/. With a live demo, if its page has been built by make web.
PAGE := web/cxr_edge_web/files.json
docs: $(VENV)/.installed-docs
	$(VENV)/bin/python -m documentation
	@if [ -e $(PAGE) ]; then $(MAKE) --no-print-directory live-demo/page.json; else \
	  echo "no live demo: make web builds the page that it takes, and needs Node.js"; fi
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# A small network is trained for it, in less than a minute.
live-demo/page.json: $(PAGE) documentation/live_demo.py
	$(VENV)/bin/python -m documentation.live_demo

$(VENV)/.installed-docs: $(VENV)/.installed requirements/docs.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	touch $@

# After an install that broke off, on a full disk for one, from the start: pip takes what it left half-unpacked for
# installed.
$(VENV)/.installed: requirements/dev.txt pyproject.toml
	if [ -e $@ ]; then rm $@; else rm -rf $(VENV); fi
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Needs uv. `requirements/pins.txt` names the versions that are known to work together.
lock:
	uv pip compile pyproject.toml --extra dev -c requirements/pins.txt -o requirements/dev.txt \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
	uv pip compile pyproject.toml --extra device -c requirements/dev.txt -o requirements/device.txt \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
	uv pip compile pyproject.toml --extra docs -c requirements/dev.txt -o requirements/docs.txt \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

# Wheels whose bytes depend on the sources alone, the page in one of its own, and an SBOM (CycloneDX, with licences) of
# what a device installs.
# Needs cyclonedx-py of the package cyclonedx-bom.
release: web
	rm -rf dist
	$(VENV)/bin/python -m hatchling build -t wheel -d dist
	cd web && $(abspath $(VENV))/bin/python -m hatchling build -t wheel -d ../dist
	$(PYTHON) -m venv --without-pip dist/device
	$(VENV)/bin/python -m pip --python dist/device/bin/python install --quiet --disable-pip-version-check \
	  --require-hashes -r requirements/device.txt
	sed "s/^dynamic = .*/version = \"$$($(VENV)/bin/python -c 'import cxr_edge; print(cxr_edge.__version__)')\"/" \
	  pyproject.toml > dist/device/pyproject.toml
	cyclonedx-py environment dist/device/bin/python --pyproject dist/device/pyproject.toml --output-reproducible \
	  --of JSON -o dist/cxr-edge-device.cdx.json
	rm -rf dist/device

# Known vulnerabilities of what is pinned. Needs pip-audit, and its database on the network. Without --strict, pip-audit
# ends with 0 and "No known vulnerabilities found" where it could look up no package at all.
AUDITED := device dev docs
audit:
	@for list in $(AUDITED); do \
	  pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements/$$list.txt || { \
	    echo "requirements/$$list.txt: not audited, or with a weakness that is named above. It takes pip-audit (pip install pip-audit)" \
	      "and the package index's advisories (JSON) on the network; a mirror without them will not do" >&2; \
	    exit 1; }; \
	done
