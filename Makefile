# Everything a developer or CI runs. `make` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: dev
dev: ## run the whole system with a private Redis in ./data (or the one of REDIS_URL)
	@scripts/install-tools.sh redis
	@$(CARGO) build --quiet --bin taskweir
	@exec target/debug/taskweir dev

# Packages whose tests make a layout: they run once more with several partitions.
PARTITIONED := package(=taskweir-store) + package(=taskweir-worker) + package(=taskweir-gateway) + package(=taskweir-projector) + package(=taskweir)

.PHONY: test
test: ## install what tests need and run every test
	@scripts/install-tools.sh redis nginx prometheus chromium axe nextest schemathesis manifests
	@scripts/check-manifests.sh
	@scripts/api-fuzz.sh
	$(CARGO) test --workspace --doc --quiet
	$(CARGO) nextest run --workspace $(NEXTEST_FLAGS)
	@# By filters, not by -p: other packages would be built with other features, once more.
	PARTITIONS=4 $(CARGO) nextest run --workspace $(NEXTEST_FLAGS) -E '($(PARTITIONED)) - (test(sabotage) + test(book::) + test(browser::) + test(pages::) + test(live::))'
	@scripts/slots.sh

.PHONY: lint
lint: ## format, clippy, documentation, dependency guards, packages; all must be clean
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@scripts/guards.sh
	@scripts/package.sh
	@scripts/install-tools.sh manifests
	@scripts/check-manifests.sh

.PHONY: k8s
k8s: ## write k8s/deployment.yaml from the kustomize base after a change of it
	@scripts/render-k8s.sh

.PHONY: api-fuzz
api-fuzz: ## drive the API from its OpenAPI document with odd input
	@scripts/install-tools.sh redis schemathesis
	@scripts/api-fuzz.sh

.PHONY: schemas
schemas: ## write the JSON Schemas of the events after a change of them
	$(CARGO) run --quiet -p taskweir-domain --example schemas -- libs/domain/schemas

.PHONY: openapi
openapi: ## write the snapshot of the OpenAPI document after a change of it
	$(CARGO) run --quiet -p taskweir-gateway --example openapi > services/gateway/openapi.json

.PHONY: bench
bench: ## measure a release build on this machine: rates, latencies, memory per task
	@scripts/install-tools.sh redis wrk
	$(CARGO) build --release --quiet --workspace --examples --bins
	@scripts/bench.sh

.PHONY: matrix
matrix: ## run the tests that talk to Redis on 6.2, 8.2 and Valkey 9.1 too
	@scripts/install-tools.sh redis nextest schemathesis
	@scripts/matrix.sh

CHAOS_SECONDS ?= 120
CHAOS_SEED ?= 1
CHAOS_RUNS ?= 1

.PHONY: chaos
chaos: ## kill and freeze real processes under load and check every promise; CHAOS_SECONDS, _SEED, _RUNS
	@scripts/install-tools.sh redis
	@$(CARGO) build --quiet --bin taskweir
	@target/debug/taskweir chaos --seconds $(CHAOS_SECONDS) --seed $(CHAOS_SEED) --runs $(CHAOS_RUNS)

.PHONY: compose-check
compose-check: ## build the image, run README's walk on the composed stack, kill parts of it, verify; needs an engine, see scripts/compose
	@scripts/compose/check.sh

.PHONY: deny
deny: ## licences and advisories of every dependency
	@scripts/install-tools.sh deny
	@$(CARGO) deny check

.PHONY: package
package: ## pack what is published and build what is packed
	@scripts/package.sh verify

.PHONY: docs
docs: ## render the book of docs/ into target/book
	@scripts/install-tools.sh mdbook
	@mdbook build docs

.PHONY: fuzz
fuzz: ## feed what reads outside bytes with odd input, FUZZ_SECONDS (60) each
	@scripts/fuzz.sh

LOAD ?= --count 100

.PHONY: loadtest
loadtest: ## submit 100 tasks to the gateway of TASKWEIR_URL and wait for them; LOAD="--count 10000 --mix process=8,fail=1"
	@$(CARGO) build --quiet --bin taskweir
	@target/debug/taskweir loadtest $(LOAD)

.PHONY: tools
tools: ## install what development needs
	@scripts/install-tools.sh redis wrk nginx prometheus chromium axe nextest schemathesis manifests
