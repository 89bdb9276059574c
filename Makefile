# The front door: each verb in a line or two; what is longer is a script in .ci/ or tests/.
# `make` alone prints the verbs, from the words behind their ##.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run test soak sim mutants bench docker asan tsan fmt lint clean

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s%s\n", $$1, $$2}' Makefile

build: ## raftkv-server, raftkv and raftkv-sim, into build/release/bin (installs what is missing)
	@.ci/install-deps build && .ci/build release raftkv-server raftkv raftkv-sim

run: ## three members of config/cluster.toml as processes, until Ctrl-C (ONCE=1: check and stop)
	@.ci/install-deps build && .ci/build release raftkv-server raftkv
	@.ci/cluster $(if $(ONCE),--once) $(CONFIG)

test: ## every test: unit, model, simulator, planted bugs, real processes, etcdctl
	@.ci/test

soak: ## what is too long for CI: 50 rounds of kill -9, 500,000 requests beside etcd, more seeds
	@.ci/install-deps build test && .ci/build release && .ci/soak

sim: ## a simulated cluster under faults: fresh seeds (SEEDS=n), or one replayed (SEED=n)
	@.ci/install-deps build && .ci/build release raftkv-sim
	@build/release/bin/raftkv-sim $(if $(SEED),--seed $(SEED) --trace $(if $(MUTANT),--mutant \
	  $(MUTANT)),--seeds $(or $(SEEDS),1000) --jobs $$(nproc))

mutants: ## plant known bugs into the simulated cluster, one at a time; each must be found
	@.ci/install-deps build && .ci/build release raftkv-sim && build/release/bin/raftkv-sim --mutants \
	  --jobs $$(nproc)

bench: ## raftkv, etcd and bare replication side by side, as in docs/benchmarks.md
	@.ci/install-deps build test && .ci/build release && tests/bench/run

docker: ## the image of docker/, and three members of it; without an engine by buildah alone
	@.ci/docker

asan: ## unit tests, processes, simulation under the address and undefined-behaviour sanitizers
	@.ci/install-deps build test && .ci/sanitize asan

tsan: ## the same under the thread sanitizer
	@.ci/install-deps build test && .ci/sanitize tsan

fmt: ## format every C++ file
	@.ci/install-deps lint && git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

lint: ## who may include whom, forbidden words, format, lock annotations, shell scripts
	@.ci/install-deps build lint && tests/lint/run

clean: ## remove everything built; data/ stays
	rm -rf build
