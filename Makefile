# The front of the toolchain: finds the build directory and calls what does the work.
#
# `make help` lists what has "##" behind it, in the groups that "##@" begins.
#
# Paths may contain spaces, so that files never appear as targets or prerequisites: each command decides by itself
# whether there is anything to do.

ifeq ($(origin BUILDDIR),undefined)
BUILDDIR := $(shell cat .last-build-dir 2>/dev/null)
endif
export MKSTAGE1_BUILDDIR := $(BUILDDIR)
export DESTDIR
# Paths are UTF-8, whatever the locale says.
export PYTHONUTF8 := 1
export LKVM_SRC

SHELL := /bin/sh
PYTHON := "$$MKSTAGE1_BUILDDIR"/venv/bin/python
CONFIGURED := test -f "$$MKSTAGE1_BUILDDIR"/config.json || { echo 'run ./configure.py first' >&2; exit 1; }
FUNCTIONAL := grep -q '"functional_tests": true' "$$MKSTAGE1_BUILDDIR"/config.json || { \
    echo 'functional tests are disabled: configure with --enable-functional-tests' >&2; exit 1; }
# Most of them wait for one emulated processor; more than four need more memory than they save time.
SIDE_BY_SIDE := -n logical --maxprocesses=4
# The jobs of `make -jN` belong to the toolchain (+), except where `make -n` only asks what would be done.
JOBS := $(if $(findstring n,$(firstword -$(MAKEFLAGS))),,+)

.PHONY: all check check-all lint ruff mypy codespell shellcheck format unit-check coverage functional-check \
    functional-rest soak bench clean distclean install uninstall docs manpages bash-completion help dev-tools sbom-tools \
    release release-tools
.DEFAULT_GOAL := all

##@ Build

all: ## Build the images that configure named (default)
	$(JOBS)@$(CONFIGURED); exec $(PYTHON) -m builder build

clean: ## Remove what the build made in the build directory; the cache stays
	@$(CONFIGURED); exec $(PYTHON) -m builder clean

distclean: ## Remove the build directory
	@$(CONFIGURED); exec $(PYTHON) -m builder distclean

##@ Check

check: lint unit-check functional-check ## Run every check

lint: ruff mypy codespell shellcheck ## Check style, types, spelling and shell scripts

ruff: dev-tools
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

mypy: dev-tools
	@$(PYTHON) -m mypy

codespell: dev-tools
	@$(PYTHON) -m codespell_lib

shellcheck: dev-tools
	@$(PYTHON) -m tests.support.shell_scripts

unit-check: dev-tools ## Run the unit tests, in one process more than there are CPUs
	@$(PYTHON) -m pytest --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist=worksteal tests/unit

coverage: dev-tools ## Run the unit tests and say which lines none of them reaches; too many are an error
	@$(PYTHON) -m pytest tests/unit --numprocesses=auto --cov --cov-report=term-missing:skip-covered

check-all: check functional-rest ## Run every check on every variant

functional-check: all dev-tools ## Boot the images, where configure enabled that
	@$(FUNCTIONAL)
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/functional

functional-rest: all dev-tools ## Run the functional tests that `make check` leaves out
	@$(FUNCTIONAL)
	@MKSTAGE1_TESTS=rest $(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/functional

soak: all dev-tools ## Start and collect $MKSTAGE1_SOAK_PODS pods (200), and look for what they leave on the host
	@MKSTAGE1_SOAK_PODS="$${MKSTAGE1_SOAK_PODS:-200}" $(PYTHON) -m pytest tests/functional/test_soak.py

bench: all dev-tools ## Measure the build and the images
	@$(PYTHON) -m tests.bench

##@ Install

install: all ## Copy the images into the images directory and rkt into bindir (below DESTDIR)
	@exec $(PYTHON) -m builder install

uninstall: ## Remove what install has put there (below DESTDIR)
	@$(CONFIGURED); exec $(PYTHON) -m builder uninstall

##@ Release

release: release-tools ## Make the release of the tag that is checked out (release/v<version>)
	$(JOBS)@$(CONFIGURED); exec $(PYTHON) -m builder release

release-tools: ## Install what `mkstage1 release` works with into the build directory
	@$(CONFIGURED); exec $(PYTHON) -m builder.configure.venv "$$MKSTAGE1_BUILDDIR" release

sbom-tools: ## Install the libraries of `mkstage1 sbom` into the build directory
	@$(CONFIGURED); exec $(PYTHON) -m builder.configure.venv "$$MKSTAGE1_BUILDDIR" sbom

##@ Develop

format: dev-tools ## Mend the style where ruff can, and format
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

docs: ## Write docs/configure.md, docs/flavor-keys.md and flavor_view.py from the tables of options and keys
	@python3 configure.py --help-markdown > docs/configure.md.tmp && mv docs/configure.md.tmp docs/configure.md
	@python3 -m builder.commands.flavor_keys > docs/flavor-keys.md.tmp && mv docs/flavor-keys.md.tmp docs/flavor-keys.md
	@python3 -m builder.commands.flavor_view > flavor_view.tmp && mv flavor_view.tmp builder/model/flavor_view.py

manpages: ## Write man pages of rkt and mkstage1 into the build directory (man/)
	@$(CONFIGURED); exec $(PYTHON) -m builder.release.documents manpages

bash-completion: ## Write the completion of rkt and mkstage1 for bash into the build directory (bash_completion/)
	@$(CONFIGURED); exec $(PYTHON) -m builder.release.documents bash-completion

help: ## Show this list
	@awk -F ':.*## ' '/^##@ / { printf "%s%s:\n", gap, substr($$0, 5); gap = "\n" } \
	    /^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 } \
	    /^# [A-Z_]+: ## / { printf "  %-24s %s\n", substr($$1, 3), $$2 }' Makefile

dev-tools:
	@$(CONFIGURED); exec $(PYTHON) -m builder.configure.venv "$$MKSTAGE1_BUILDDIR" dev

##@ Variables

# V: ## How much a build shows: 0 nothing, 1 a line a step (default), 2 the output of programs, 3 their commands
# BUILDDIR: ## The build directory; without it the one that was configured last
# DESTDIR: ## A folder that stands for the root directory, for install and uninstall
# SOURCE_DATE_EPOCH: ## The time stamp of everything in an image, in seconds since 1970
