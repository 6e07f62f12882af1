# Short names for this workspace's commands. Anything longer is in xtask.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help bootstrap demo clients fmt lint test sim planted tidy generated docs deny nodes regtest on-nodes laws times flood ci

BINARIES = $${CARGO_TARGET_DIR:-target}/debug
NODES = $(abspath $(or $(CARGO_TARGET_DIR),target))/nodes
# Without its database feature, so that it builds in seconds, and before protoc is installed.
XTASK = cargo run --quiet --package xtask --no-default-features --

help: ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bootstrap: ## Install what a new machine lacks: protoc
	$(XTASK) bootstrap

demo: bootstrap $(if $(filter real,$(LIGHTNING)),nodes) ## A whole trade on this machine; LIGHTNING=real: on real nodes
	cargo build --workspace --bins
	$(BINARIES)/devnet --lightning $(or $(LIGHTNING),simulated) $(ARGS)

clients: bootstrap ## Trade with real clients from crates.io (docs/CLIENTS.md)
	scripts/clients.sh

nodes: ## Build the real LND and btcd for tests; needs Go, takes minutes the first time
	@if [ -n "$$LND_BIN" ] && [ -n "$$BTCD_BIN" ]; then \
		echo "LND_BIN and BTCD_BIN name the nodes: nothing to build"; \
	elif command -v go > /dev/null; then \
		GOBIN=$(NODES) go install -C nodes -tags 'invoicesrpc dev lowscrypt' tool; \
	else \
		echo "no Go here to build LND and btcd with: install it (https://go.dev/dl)," \
			"or name binaries by LND_BIN and BTCD_BIN" >&2; exit 1; \
	fi

regtest: bootstrap ## The tests that need real nodes; without nodes they are reported as skipped
	@if command -v go > /dev/null || { [ -n "$$LND_BIN" ] && [ -n "$$BTCD_BIN" ]; }; then \
		$(MAKE) nodes on-nodes; \
	else \
		echo "**** SKIPPED: no test ran on real nodes; install Go (https://go.dev/dl)," \
			"or name binaries by LND_BIN and BTCD_BIN ****" >&2; \
	fi

on-nodes:
	cargo build --workspace --bins
	$(BINARIES)/devnet --lightning real --once
	cargo test --package regtest --test nodes
	cargo test --test lightning-real
	cargo test --test it-real

laws: bootstrap nodes ## Generate docs/LIGHTNING.md: what holds on simulated and on real nodes
	$(XTASK) laws

times: bootstrap nodes ## How long a trade's steps take, simulated and real, as medians
	cargo build --workspace --bins
	$(BINARIES)/times

flood: bootstrap ## Trades during 500 messages of strangers a second: they must be as fast as without
	cargo build --release --workspace --bins
	cargo test --release --test flood -- --nocapture

fmt: ## Format the code
	cargo fmt --all

lint: bootstrap ## Clippy, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test '*' -- -D warnings # with those that only run on real nodes

test: bootstrap ## All tests; needs nothing but cargo
	$(if $(shell cargo nextest --version 2>/dev/null), \
		cargo nextest run --workspace && cargo test --workspace --doc, \
		cargo test --workspace)

sim: bootstrap ## The simulation alone, with more seeds: `make sim SEEDS=10000`
	SIM_SEEDS=$(SEEDS) cargo test --profile sim --test sim -- --nocapture

planted: bootstrap ## Check that the tests find each fault of tests/planted; FAULTS="a b" for some
	$(XTASK) planted $(FAULTS)

tidy: ## Check the rules of the source tree
	$(XTASK) tidy

generated: bootstrap ## Generate schema.sql, .sqlx, docs/transitions.md and the lists in docs/rules
	$(XTASK) rules
	cargo xtask schema
	cargo xtask sqlx
	UPDATE_DOCS=1 cargo test --package trade --test table

docs: bootstrap ## The crates' documentation
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny: ## Licences, bans and advisories of the dependencies
	cargo deny --workspace check

# What CI runs, in this order. Everything is built once: the binaries come from the build of the tests.
# Nothing is reused later, so the build is not incremental.
ci: export CARGO_INCREMENTAL = 0
ci: bootstrap
	cargo fmt --all --check
	$(MAKE) lint
	$(MAKE) tidy
	cargo build --workspace --all-targets
	$(BINARIES)/xtask rules --check
	$(BINARIES)/xtask schema --check
	$(BINARIES)/xtask sqlx --check
	$(MAKE) test
	$(BINARIES)/devnet --once
	$(MAKE) regtest
	$(MAKE) docs
	$(call where_installed,cargo-deny,$(MAKE) deny)
	$(call where_installed,typos,typos)

define where_installed
@if command -v $(1) > /dev/null; then $(2); else \
	echo "**** SKIPPED: $(1) is not installed, its checks did not run ****" >&2; fi
endef
