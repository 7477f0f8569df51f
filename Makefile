# Purser's targets. `make` alone lists them.

SHELL := /bin/bash
CARGO ?= cargo
# What `make run` builds: `release`, or `dev` for a quick build.
PROFILE ?= release
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

target_dir := $(or $(CARGO_TARGET_DIR),target)
bin_dir := $(target_dir)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.DEFAULT_GOAL := help
.PHONY: help build run clean-run check fmt lint deny test bench sim pools corpus fuzz leases soak

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Builds purserd, purser, purser-replay and, statically, purser-agent.
	@.ci/packages.sh build
	$(CARGO) build --locked --profile $(PROFILE) -p purser-node -p purser-replay --bin purserd --bin purser --bin purser-replay
	$(CARGO) rustc --locked --profile $(PROFILE) -p purser-node --bin purser-agent -- -C target-feature=+crt-static
	@.ci/static.sh $(bin_dir)/purser-agent

run: build ## Runs a node in ./run with the example pods, until Ctrl-C; pods go on. RUN_ONCE=1 stops by itself, GPU=fake makes GPUs up.
	$(if $(filter fake,$(GPU)),$(CARGO) build --locked --profile $(PROFILE) -p purser-fake-nvml)
	@GPU=$(GPU) dist/run.sh start $(bin_dir)

clean-run: build ## Deletes the pods that `make run` left and the folder ./run.
	@dist/run.sh clean $(bin_dir)

check: fmt lint ## Checks format and lints.

fmt:
	@.ci/components.sh
	$(CARGO) fmt --all --check

lint:
	@.ci/packages.sh build
	@.ci/components.sh
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny: ## Checks licences, sources, forbidden crates and known vulnerabilities.
	@.ci/packages.sh build
	@.ci/deny.sh

test: ## Checks everything; as root it first installs what the tests need.
	@.ci/packages.sh test
	@.ci/pyarrow.sh
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory deny
	$(CARGO) test --locked --workspace --no-fail-fast

bench: ## Prints figures of the service, the journal, the ledger and the auditor's tool beside their references; ONLY=append is one of them.
	@.ci/packages.sh test
	$(CARGO) bench --locked -p purser-events -p purser-tests -p purser-replay

# `SEEDS=1000` is a count from 0 on, `SEEDS=500..600` a range.
SEEDS ?= 2000
sim: ## Lives through SEEDS simulated nodes; each that fails is printed and leaves an export.
	@.ci/packages.sh build
	PURSER_SIM_SEEDS=$(SEEDS) $(CARGO) test --locked -p purser-tests --test it simulator::no_seed -- --nocapture

pools: ## Lives through SEEDS lives of one pool by its decider, with crashes, lost pods and slow agents; each that fails is printed.
	@.ci/packages.sh build
	PURSER_POOL_SEEDS=$(SEEDS) $(CARGO) test --locked -p purser-events --test pool life::no_seed -- --nocapture

corpus: ## Damages a journal's export at every bit and every length, and prints how many of the changes were found: all of them.
	@.ci/packages.sh build
	PURSER_CORPUS=full $(CARGO) test --locked -p purser-replay --test tool hostile:: -- --nocapture

SEED ?= 7
COUNT ?= 200000
fuzz: ## Gives each decoder COUNT mutations of valid input, from SEED on; `make test` gives it 3000.
	@.ci/packages.sh build
	PURSER_FUZZ=$(SEED):$(COUNT) $(CARGO) test --locked -p purser-replay --test tool hostile::no_decoder -- --nocapture
	PURSER_FUZZ=$(SEED):$(COUNT) $(CARGO) test --locked -p purser-tests --test it fuzz::no_decoder -- --nocapture

KILLS ?= 1000
leases: ## Kills nodes KILLS times amid admissions and checks that no port and no subnet ever had two holders.
	@.ci/packages.sh test
	PURSER_LEASES_ROUNDS=$(KILLS) $(CARGO) test --locked --workspace --test it ledger::leases -- --nocapture

EVENTS ?= 10000000
BACKEND ?= sled
soak: ## Appends EVENTS events to one sealed journal and prints whether memory, handles and disk stay flat; BACKEND=redb.
	@.ci/packages.sh build
	EVENTS=$(EVENTS) BACKEND=$(BACKEND) $(CARGO) run --locked --release -p purser-tests --example soak
