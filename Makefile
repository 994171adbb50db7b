# make run | test | bench | lint: see README.md. Everything that is fetched goes to .cache.

CARGO ?= cargo

.PHONY: run test bench lint build unit deb deb-chroot deb-check test-container test-vm

# The built-in score server at http://127.0.0.1:8000/mcp, or ARGS="--config my.toml".
run:
	$(CARGO) build --release --locked --bins
	target/release/mainstayd --state-dir .cache/run $(ARGS)

build:
	$(CARGO) build --release --locked --bins --examples

# The Debian package, as target/deb/mainstay_*.deb.
deb:
	packaging/deb

# What there is to check about a package, and that another folder gives the same bits.
deb-check: deb
	packaging/check target/deb/mainstay_*.deb
	packaging/reproducible target/deb/mainstay_*.deb

# The same as Debian would build it: clean chroots of Debian 12 and 13, no network. Needs root.
deb-chroot:
	packaging/deb-chroot

# Fast and needs nothing but the toolchain.
unit:
	$(CARGO) test --locked
	$(CARGO) test --locked --features fault --test watchdog

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --quiet

# All of it; installs what it lacks and says what.
test: lint unit build
	tests/suite_can_fail
	tests/setup
	tests/conformance target/release/mainstayd
	tests/clients/run target/release/mainstayd
	tests/clients/servers target/release/mainstayd
	tests/msrv
	tests/differential/run $${MAINSTAY_CACHE:-.cache}/music21/bin/python target/release/mainstayd
	$(MAKE) -j1 deb-check test-container test-vm

# The package on a real systemd, of Debian 12 and 13: in a container, and in an emulated machine that
# has all of cgroup v2. CASES="10 30" runs only these.
test-container test-vm: test-%: deb
	tests/setup systemd
	$(CARGO) build --locked --features fault --bin mainstayd --target-dir target/fault
	cp target/fault/debug/mainstayd target/deb/mainstayd-fault
	tests/systemd/run $* both target/deb/mainstay_*.deb $(CASES)

bench: build
	$(CARGO) bench --locked --bench guards
	tests/bench/run target/release/mainstayd
	tests/bench/guards target/release/mainstayd
