# What a person does with this repository. `make` alone says what there is.

CARGO ?= cargo

# Built together with the gateway, so that both have the same dependencies once.
BENCH = $(CARGO) build --locked --release --no-default-features --package posthouse-gateway --package posthouse-tests --bins && \
	$${CARGO_TARGET_DIR:-target}/release/posthouse-bench

.DEFAULT_GOAL := help
.PHONY: help demo test control-plane lint bench bench-all bench-operator audit

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a relay and a provider on this machine, three messages on their way, the metrics
	$(CARGO) build --locked --package posthouse-operator --package posthouse-gateway --bins
	tests/demo/run.sh

# The tests of the operator mostly wait for pods: more of them than there are processors run at once.
test: control-plane ## the whole fast suite; what is not installed is named and its tests are skipped
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --exclude posthouse-tests
	$(CARGO) test --locked --package posthouse-tests --lib --test architecture --test contract --test gateway
	$(CARGO) test --locked --package posthouse-tests --test operator -- --test-threads 5

control-plane: ## the Kubernetes API server that the operator is tested on; built once, where Go is installed
	@tests/cluster/build.sh --if-possible

lint: ## format, Clippy without warnings, what may be depended on
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	$(CARGO) deny --locked check bans licenses sources

bench: ## this gateway and Postfix beside each other: 4 KiB, 20 sessions, three runs (needs root and Postfix)
	$(BENCH)

bench-all: ## the same for 4 KiB, 100 KiB, 1 MiB at 1, 20, 100 sessions
	$(BENCH) all

bench-operator: control-plane ## what the operator costs with 200 relays and 2,000 senders (ten minutes once built; needs helm)
	$(CARGO) build --locked --release --package posthouse-operator --package posthouse-tests --bins
	$${CARGO_TARGET_DIR:-target}/release/posthouse-bench-operator

audit: ## known vulnerabilities in what we depend on (needs the network)
	$(CARGO) deny check advisories
