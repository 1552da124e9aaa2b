# network-manager. `make help` lists what there is.
SHELL := bash
SWIFT ?= swift
PREFIX ?= /usr/local
# One row of the benchmarks: make bench ONLY=attach-floor
ONLY ?=

# Optimised builds, the benchmarks' as well as those to be installed, share one tree, so that gRPC is compiled once.
OPTIMISED := $(SWIFT) build -c release --static-swift-stdlib --package-path Benchmarks --scratch-path .build/optimised
# Generated code keeps its generator's layout.
FORMATTED := Package.swift $(filter-out Sources/Protos,$(wildcard Sources/*)) \
	$(wildcard Tests Benchmarks/Package.swift Benchmarks/Sources Fuzz/Package.swift Fuzz/Sources)

.PHONY: help demo test bench build release install format lint clean

help:
	@echo 'make demo             the story: a network without root, a client allowed, an intruder refused, and why'
	@echo 'make test             every test (sets up, builds, runs)'
	@echo 'make bench [ONLY=id]  the benchmarks; writes bench.json'
	@echo 'make build            a debug build; make release: an optimised one, in dist/'
	@echo 'make install          forge and forged into PREFIX ($(PREFIX))'
	@echo 'make format | lint    swift format'
	@echo 'make clean            removes what was built'

# FORGE_BIN=DIRECTORY make demo: with the forge and forged of that directory instead of a build.
demo:
	@scripts/setup --for demo
	@[ -n "$(FORGE_BIN)" ] || { echo 'building; the first time this takes minutes'; $(SWIFT) build; }
	@scripts/demo

# Root's tests start fabrics as root and as ordinary users; those that speak to the kernel run a second time as one.
test:
	@scripts/setup --for test
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build
	@scripts/test-as-user

bench:
	@scripts/setup --for bench
	$(OPTIMISED)
	$(OPTIMISED) --product forge
	$(OPTIMISED) --product forged
	@python3 Benchmarks/bench.py --bin .build/optimised/release $(if $(ONLY),--only $(ONLY))

build:
	@scripts/setup --for build
	$(SWIFT) build

release:
	@scripts/setup --for build
	$(OPTIMISED) --product forge
	$(OPTIMISED) --product forged
	@mkdir -p dist
	install -m 0755 .build/optimised/release/forge .build/optimised/release/forged dist/

install:
	@test -x dist/forged || { echo 'make install: run make release first'; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 dist/forge dist/forged $(DESTDIR)$(PREFIX)/bin/

format:
	$(SWIFT) format format --in-place --parallel --recursive $(FORMATTED)

lint:
	$(SWIFT) format lint --strict --parallel --recursive $(FORMATTED)
	@for script in scripts/setup scripts/demo scripts/test-as-user scripts/lib/demo-story .ci/run; do bash -n $$script || exit 1; done

clean:
	rm -rf .build .build-* dist Benchmarks/.build Fuzz/.build
