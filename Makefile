# `make demo` and `make test` need only python3 (3.11.2 or newer), pip and make.
# pip's own variables (PIP_INDEX_URL, PIP_CONSTRAINT, PIP_FIND_LINKS, …) are honoured, e.g. for a CPU build of torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check test-long test-slow lint lint-deploy image-test bench bench-long faults coverage findings fuzz \
    simulate mutants constraints docs client site notebooks release-check gpu-check gpu-wheels clean

# Debian's ensurepip is in the package python3-venv. Without it, the installed pip installs one into the environment.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) \
	    && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet -e '.[test,docs,release,zoos,hub,onnx,service,telemetry,corruptions,evidence]'
	touch $@ $(VENV)/.installed

# Audits that were done before save no adversarial images, so without any the zoo is audited again.
demo: $(VENV)/.installed
	@mkdir -p plots
	$(BIN)/auditor scan demo --save-adversarials plots/adversarials $(if $(wildcard plots/adversarials/*.npz),,--force)
	$(BIN)/auditor results plot --zoo --source demo -o plots/zoo.png
	$(BIN)/auditor results plot demo:at-eps0.10 -o plots/at-eps0.10.png
	$(BIN)/auditor results plot demo:standard -o plots/standard.png
	$(BIN)/auditor results plot demo:at-eps0.10 --templates -o plots/templates-at-eps0.10.png
	$(BIN)/auditor results plot demo:standard --templates -o plots/templates-standard.png
	$(BIN)/auditor results plot demo:at-eps0.10 --adversarials plots/adversarials -o plots/adversarials.png

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

KUBERNETES := deploy/kubernetes/base deploy/kubernetes/overlays/gpu

# Checks Dockerfile, the Kubernetes manifests and compose.yaml. The latter needs Docker's client or Debian's
# docker-compose.
lint-deploy: $(VENV)/.installed-test
	$(BIN)/hadolint Dockerfile
	if docker compose version >/dev/null 2>&1; then docker compose config --quiet; \
	elif command -v docker-compose >/dev/null; then docker-compose config --quiet; \
	else echo "docker compose is not installed: compose.yaml is not checked"; fi
	for folder in $(KUBERNETES); do \
	    manifests=$$($(BIN)/kubectl kustomize $$folder) \
	        && echo "$$manifests" | $(BIN)/kubernetes-validate --strict --quiet /dev/stdin || exit 1; done

# Builds the image with buildah and runs it; needs root, Debian, and the packages that it names. Takes some minutes and
# 25 GB in /var/tmp. IMAGE_TEST="--torch-index URL" builds it with the CPU build of torch.
image-test: $(VENV)/.installed-test
	$(BIN)/python -m tests.image $(IMAGE_TEST)

# Tests that store and read run again with a PostgreSQL database for each test. The rest of tests/cli tests terminals,
# options and numbers; it also passes with PostgreSQL, in several minutes.
ON_POSTGRESQL := tests/db tests/results tests/scans $(patsubst %,tests/cli/test_%.py,compare gates published results sketch) \
    tests/web/test_models.py tests/web/test_api.py::test_pages_are_the_whole_list_whatever_the_order \
    'tests/cli/test_scan.py::test_an_interrupted_scan_keeps_what_is_done_and_goes_on_from_there[SIGTERM]'

# Three tests run at once, with one thread each, because many tests wait for processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile

test: lint lint-deploy
	$(PYTEST) -m "not slow and not long"

# The rest of the suite: real workers, boosts and browsers, each several seconds long, and the second run on PostgreSQL.
test-long: $(VENV)/.installed-test
	$(PYTEST) -m "long and not slow"
	$(PYTEST) -m "not slow" --database postgresql $(ON_POSTGRESQL)

# For work in progress: lint, types, import rules and the tests that take no process, service or attack.
QUICK := tests/checkpoints tests/clustering tests/plots tests/records tests/results tests/text tests/test_structure.py \
    tests/test_statistics.py tests/test_paired.py tests/test_config.py tests/jobs/test_expiry_watch.py \
    tests/jobs/test_heartbeat.py tests/linear/test_weight.py

check: lint
	$(PYTEST) -m "not slow and not long" $(QUICK)

test-slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow

# The benchmarks need PostgreSQL and Redis at 127.0.0.1. torchattacks has a folder of its own, because it brings an old
# package `robustbench`, which would overwrite the real one, and pins a version of requests from 2021.
$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(BIN)/pip install --quiet --no-deps --target $(VENV)/bench 'torchattacks>=3.5,<4'
	touch $@

bench: $(VENV)/.installed-bench
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.performance --write docs/performance.md

# Runs AutoAttack on 500 images on both sides, for an hour. Finished parts are stored and not repeated.
bench-long: $(VENV)/.installed-bench
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.autoattack --images 500 --store benchmarks/runs/autoattack

# Real workers while processes, services and links fail. Takes an hour, and needs root and Debian's packages postgresql,
# redis-server and iproute2. Finished scenarios are stored and not repeated.
faults: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults --write docs/service-measured.md

# A million random interleavings of the lease protocol, see tests/simulation; it needs no service. SIMULATE="--seed 2"
# draws others.
simulate: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation $(SIMULATE)

# Small mistakes in the code of leases, each of which the simulation or a test must notice. Resumable; takes half an hour.
mutants: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation.mutants --write docs/service-measured.md $(MUTANTS)

# Measures for docs/coverage.md and docs/findings.md, and writes them. Both are resumable and take half an hour or more.
coverage findings: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.$@ --write docs/$@.md

# Searches for inputs that break a reader: an hour by default, and the next run goes on from the corpus in .fuzz.
# A finding is written to tests/fuzz/findings, where `make test` reads it. docs/fuzzing.md says what is promised.
MINUTES ?= 60
$(VENV)/.installed-fuzz: $(VENV)/.installed-test
	$(BIN)/pip install --quiet -e '.[fuzz]'
	touch $@

fuzz: $(VENV)/.installed-fuzz
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Pins the versions with which the tests passed: constraints.txt for installations and the image, and
# constraints-test.txt for what only tests and other extras need.
constraints: $(VENV)/.installed-test
	$(BIN)/python -m tests.constraints

docs: $(VENV)/.installed-test
	$(BIN)/python -m tests.cli_reference > docs/cli.md
	$(BIN)/python -m tests.api_reference > docs/api.md

# The documentation as pages below build/site/html. They need no server and no network.
site: $(VENV)/.installed-test
	$(BIN)/python tools/site.py

# Runs the notebooks and stores what they print and draw, which the site shows.
notebooks: $(VENV)/.installed-test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/notebooks.py

# Builds wheel and sdist twice and compares them, installs the wheel without extras into a new environment, scans the
# demo zoo there, and writes the SBOM of that environment. Installing torch takes minutes.
release-check: $(VENV)/.installed-test
	$(BIN)/python tools/release.py

# Writes the types of auditor.client from the OpenAPI document.
client: $(VENV)/.installed-test
	$(BIN)/python -m tests.client_models

# Checks and measures auditor on a GPU within eight minutes. Needs no network: only CUDA, PyTorch and a folder of wheels;
# GPU_CHECK="--write docs/performance.md" also writes the page.
gpu-check:
	$(PYTHON) tools/gpu_check.py $(GPU_CHECK)

# Fills that folder, .gpu-wheels, where there is a network: GPU_WHEELS="--python 3.12 --freeze FILE" for another Python,
# and without what `pip freeze` prints on the machine with the GPU.
gpu-wheels: $(VENV)/.installed-test
	$(BIN)/python tools/gpu_check.py --fill $(GPU_WHEELS)

clean:
	rm -rf .gpu-check $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
