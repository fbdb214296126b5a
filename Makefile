# Recipes for people and for CI. Each target is one line; what is longer stands in deploy/dev/.
.DEFAULT_GOAL := help
.PHONY: help build run dev test test-sdks kubernetes lint fmt docs deny sbom image-test tools cluster bench bench-wslib budgets clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## build the workspace
	cargo build --workspace

run: ## build and start everything in one process, in memory, with a demo app; needs only cargo
	cargo run --bin fanfare -- dev

dev: run ## the same as make run

test: ## install what tests need, then run every test; ends with the totals
	deploy/dev/test.sh

test-sdks: ## Pusher's and Ably's libraries for Java, and Ably's for Go, against a cluster; needs a JDK, Maven and Go, too
	deploy/dev/sdks.sh

kubernetes: ## put the chart into real API servers, the oldest and the newest; needs Go, and some 15 minutes the first time
	deploy/dev/kubernetes.sh

lint: ## formatting and lints, without changing anything
	cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt --all

docs: ## write docs/admin.md, docs/configuration.md and docs/metrics.md anew from the code
	FANFARE_BLESS=1 cargo test --quiet --bin fanfare reference_pages

deny: ## licences, bans, sources and advisories of all dependencies; the advisories come from GitHub
	deploy/dev/deny.sh

sbom: ## list what the binary is made of, as CycloneDX, into target/sbom/
	deploy/dev/sbom.sh

image-test: ## build the static binary of the image, and try it in the image's layout; a release build, root, clang and the headers of musl
	deploy/dev/image.sh

tools: ## install the NATS server and the Python libraries that tests and make cluster use, into .tools/
	deploy/dev/tools.sh

cluster: ## three NATS servers and two edges on loopback, to play with; Ctrl-C ends all
	deploy/dev/cluster.sh

bench: ## measure every goal beside its floor, as docs/performance.md explains; about ten minutes, and a release build
	deploy/dev/bench.sh

bench-wslib: ## compare WebSocket libraries, the measurement behind docs/decisions/0001; about four minutes
	cargo run --release --manifest-path loadtest/wslib/Cargo.toml

budgets: ## count what inner loops take, and write docs/budgets.md anew; needs valgrind
	FANFARE_BLESS=1 cargo test --quiet -p edge --lib budgets

clean: ## remove everything that was built or installed here
	rm -rf target .tools loadtest/wslib/target services/fanfare/tests/clients/node_modules
