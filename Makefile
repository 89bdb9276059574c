# All commands of the project, a line or two each. Anything longer is a script in .ci/ or tests/.
# `make` without a target lists the targets, each with the text after its ##.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build pgo run test soak sim mutants fuzz compat bench account instructions microbench overload growth steady failover catch-up hostile docker asan tsan fmt lint clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s%s\n", $$1, $$2}' Makefile

build: ## build the programs in build/release/bin, and the libraries (installs missing packages)
	@.ci/install-deps build && .ci/build release raftkv-server raftkv raftkv_embedded raftkv-sim

pgo: ## build raftkv-server in build/pgo/bin with profile-guided and link-time optimisation
	@.ci/install-deps build && .ci/build release raftkv && .ci/pgo

run: ## start the three members of config/cluster.toml, until Ctrl-C (ONCE=1: check and stop)
	@.ci/install-deps build && .ci/build release raftkv-server raftkv
	@.ci/cluster $(if $(ONCE),--once) $(CONFIG)

test: ## run all tests: unit, model, simulator, planted bugs, real processes, etcdctl
	@.ci/test

soak: ## tests too long for CI: 50 rounds of kill -9, 500,000 requests against etcd, more seeds
	@.ci/install-deps build test && .ci/build release && .ci/soak

sim: ## simulate clusters under faults: new seeds (SEEDS=n), or replay one (SEED=n); CORE=1: Raft alone
	@.ci/install-deps build && .ci/build release raftkv-sim
	@build/release/bin/raftkv-sim $(if $(CORE),--core) $(if $(SEED),--seed $(SEED) --trace $(if $(MUTANT),--mutant \
	  $(MUTANT)),--seeds $(or $(SEEDS),1000) --jobs $$(nproc) $(if $(LEDGER),--ledger \
	  docs/simulation-ledger.md))

mutants: ## plant known bugs into the simulated cluster, one at a time; each must be found
	@.ci/install-deps build && .ci/build release raftkv-sim && build/release/bin/raftkv-sim --mutants \
	  --jobs $$(nproc)

fuzz: ## run each fuzz target with libFuzzer for FUZZ_SECONDS (60), or one (TARGET=name)
	@.ci/install-deps build test fuzz && .ci/fuzz $(TARGET)

compat: ## client libraries of etcd in five languages while members die; answers compared with etcd 3.7
	@.ci/compat

bench: ## measure raftkv, etcd and bare replication; WRITE=1: into docs/benchmarks.md
	@.ci/install-deps build test $(if $(WRITE),bench) && $(if $(WRITE),/usr/bin/python3 )tests/bench/run $(if $(WRITE),--write)

account: ## where the CPU time of a request goes, by perf (LOAD="put --clients 256")
	@.ci/install-deps build account && .ci/build release raftkv-server raftkv && \
	  tests/bench/account $(or $(LOAD),put --clients 256)

instructions: ## count the instructions of each kind of request, and compare; WRITE=1: replace the counts
	@.ci/install-deps build instructions && .ci/build release instructions_bench && tests/bench/instructions $(if $(WRITE),--write)

microbench: ## micro-benchmarks: codec, log, state machine, ranges (FILTER=Range: only some)
	@.ci/install-deps build microbench && .ci/build release microbench && \
	  build/release/bin/microbench $(if $(FILTER),--benchmark_filter='$(FILTER)')

overload: ## puts at 2, 5 and 10 times the rate of 256 clients; etcd too
	@.ci/install-deps build test && .ci/build release raftkv-server raftkv && RAFTKV_ETCD=$$(.ci/etcd) tests/bench/overload

growth: ## a state that is larger than the memory (KEYS, MEMORY_MIB); etcd too; needs root
	@.ci/install-deps build test && .ci/build release raftkv-server raftkv && RAFTKV_ETCD=$$(.ci/etcd) tests/bench/growth

steady: ## p99.9 of puts over an hour of mixed load, beside its median minute (MINUTES=60); etcd too
	@.ci/install-deps build test && .ci/build release raftkv-server raftkv && RAFTKV_ETCD=$$(.ci/etcd) tests/bench/steady

failover: ## how long writes stop when the leader dies or stops, or all restart; etcd too (ROUNDS=30)
	@.ci/install-deps build test && .ci/build release raftkv-server failover
	@export RAFTKV_ETCD=$$(.ci/etcd); for product in raftkv etcd; do for how in kill term restart; do \
	  build/release/bin/failover $$product $$how $(or $(ROUNDS),30) || exit 1; done; done

catch-up: ## put latency while a member that was away gets a snapshot; etcd too (MIB=1024)
	@.ci/install-deps build test && .ci/build release raftkv-server raftkv && \
	  MIB=$(or $(MIB),1024) tests/bench/catch_up

docker: ## build the container image and check three members of it
	@.ci/docker

hostile: ## hostile clients beside a correct one, whose puts must take less than a second
	@.ci/install-deps build test && .ci/build release e2e_test raftkv-server && \
	  RAFTKV_HOSTILE=1 build/release/bin/e2e_test --gtest_filter='Hostile.*:Flood.*'

asan: ## unit tests, processes, simulator with the address and undefined-behaviour sanitizers
	@.ci/install-deps build test && .ci/sanitize asan

tsan: ## the same with the thread sanitizer
	@.ci/install-deps build test && .ci/sanitize tsan

fmt: ## format every C++ file
	@.ci/install-deps lint && git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

lint: ## check dependencies, sizes, links, format, lock annotations and shell scripts
	@.ci/install-deps build lint && tests/lint/run

clean: ## remove build/; data/ stays
	rm -rf build
