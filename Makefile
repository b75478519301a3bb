# One target per question; `make` lists them. Every target installs what it needs and is quick when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

KERNEL ?= uml
CACHE := .cache
RESULTS := $(CACHE)/results
STAMPS := $(CACHE)/stamps
# Headers of the very Node that will load the addon, so that node-gyp has nothing to download.
NODE_PREFIX := $(patsubst %/bin/node,%,$(realpath $(shell command -v node)))
NODE_GYP_FLAGS := $(if $(wildcard $(NODE_PREFIX)/include/node/node_api.h),--nodedir=$(NODE_PREFIX),)
NPX := node_modules/.bin
PROTOS := $(wildcard proto/*/*.proto proto/*/*/*.proto)
NATIVE_SOURCES := $(wildcard native/src/* native/tools/*)
CXX_SOURCES = $(wildcard native/src/* $(foreach folder,native/test native/fuzz native/tools test/proof/*,$(folder)/*.cpp $(folder)/*.hpp))
SOURCES := $(shell find src -name '*.ts' -not -path 'src/gen/*' 2>/dev/null)

export npm_config_update_notifier := false

say = @printf '\033[1m%s\033[0m\n' "$(1)"

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: $(STAMPS)/packages-build $(STAMPS)/npm ## install what the build needs (apt, npm)

$(STAMPS)/packages-%: $(wildcard scripts/install-packages)
	@mkdir -p $(@D)
	@scripts/install-packages $*
	@touch $@

$(STAMPS)/npm: package.json package-lock.json
	$(call say,Installing npm packages)
	@mkdir -p $(@D)
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: build
build: $(STAMPS)/native $(STAMPS)/bundle ## compile the native engine and the TypeScript

$(STAMPS)/native: $(STAMPS)/packages-build $(STAMPS)/npm native/binding.gyp $(NATIVE_SOURCES)
	$(call say,Building the native engine)
	@cd native && ../$(NPX)/node-gyp rebuild -j max --silent $(NODE_GYP_FLAGS)
	@touch $@

$(STAMPS)/gen: $(STAMPS)/npm buf.gen.yaml $(PROTOS)
	$(call say,Generating TypeScript from proto/)
	@rm -rf src/gen && $(NPX)/buf generate
	@touch $@

$(STAMPS)/typescript: $(STAMPS)/gen tsconfig.json tsconfig.build.json $(SOURCES)
	$(call say,Compiling TypeScript)
	@rm -rf dist && $(NPX)/tsc -p tsconfig.build.json
	@touch $@

# Node takes longer to find and read a thousand small files than to run them, and after a crash I/O waits for that.
$(STAMPS)/bundle: $(STAMPS)/typescript scripts/bundle.js
	$(call say,Bundling the command)
	@node scripts/bundle.js
	@touch $@

.PHONY: demo
demo: build ## the life of two volumes and a crash of the driver, on this machine's kernel or in a guest
	$(call say,Demo)
	@scripts/install-packages vm
	@test/demo/run

.PHONY: lint
lint: $(STAMPS)/gen $(STAMPS)/packages-build ## types, lint, import arrows, formatting
	$(call say,Checking types and style)
	@$(NPX)/tsc -p .
	@$(NPX)/biome check --error-on-warnings .
	@clang-format --dry-run --Werror $(CXX_SOURCES)
	@scripts/install-packages units
	@scripts/check-units

.PHONY: format
format: $(STAMPS)/npm $(STAMPS)/packages-build ## rewrite sources in the house format
	@$(NPX)/biome check --write .
	@clang-format -i $(CXX_SOURCES)

.PHONY: proto-sync
proto-sync: $(STAMPS)/npm ## renew proto/csi/csi.proto from the CSI specification's Go module
	$(call say,Fetching the CSI specification)
	@scripts/proto-sync

# Every suite leaves its result file in $(RESULTS); test/report/count adds them up into the one closing line.
SUITES := unit native-plain native-asan sanity-fakes-mount sanity-fakes-block tools vm-self-test
TEST_KERNELS := uml 6.1 6.12 7.3
VM_SUITES := $(foreach kernel,$(TEST_KERNELS) udev-uml csi-uml,vm-$(kernel)-guest vm-$(kernel)-jest) \
  $(foreach pool,disk scratch,vm-uml-sanity-real-$(pool)-mount vm-uml-sanity-real-$(pool)-block)

# Two at a time: a guest keeps little more than one processor busy. The longest come first.
GUEST_RUNS := test-vm-on-uml test-csi-vm-daily test-vm-on-6.12 test-vm-on-7.3 test-vm-udev-on-uml test-vm-on-6.1

.PHONY: test
test: ## everything: lint, unit, native, csi-sanity, the guest suites on uml and 6.12, what is new in 7.3, and 6.1 (which has no ublk)
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@status=0; \
	for part in lint test-unit test-native test-sanity test-bed guests-ready; do \
	  $(MAKE) $$part || status=1; \
	done; \
	$(MAKE) -k -j2 $(GUEST_RUNS) || status=1; \
	test/report/count $(RESULTS) $(SUITES) $(VM_SUITES) || status=1; \
	exit $$status

.PHONY: test-unit
test-unit: $(STAMPS)/gen ## TypeScript without root or kernel (jest)
	$(call say,Unit tests)
	@mkdir -p $(RESULTS)
	@NODE_OPTIONS='--experimental-vm-modules --no-warnings' $(NPX)/jest --silent --json --outputFile=$(RESULTS)/unit.json

.PHONY: test-native
test-native: $(STAMPS)/packages-build $(CACHE)/uapi/usr/include/linux/ublk_cmd.h ## the engine without Node or ublk (GoogleTest; plain, then under ASan and UBSan)
	$(call say,Native tests)
	@$(MAKE) -C native test VARIANT=plain RESULTS=$(CURDIR)/$(RESULTS)
	@$(MAKE) -C native test VARIANT=asan RESULTS=$(CURDIR)/$(RESULTS)

$(CACHE)/uapi/usr/include/linux/ublk_cmd.h:
	$(call say,Fetching the newest kernel header)
	@scripts/fetch-uapi-header

.PHONY: test-sanity
test-sanity: build ## csi-sanity against the services over fakes, for mount and for block access
	$(call say,csi-sanity over fakes)
	@scripts/install-tool csi-sanity
	@test/sanity/run-fakes

.PHONY: test-bed
test-bed: ## the guest runner and the counting of results, tried on themselves
	$(call say,Self-test of the test bed)
	@test/vm/self-test

.PHONY: test-vm
test-vm: test-vm-on-$(KERNEL) ## the suites that need a real ublk device, in a guest: KERNEL=uml|6.1|6.12|6.18|7.3

# Each line says whose it is, as it comes: after a hang, the last one of a guest tells where it stopped.
named_lines = 2>&1 | sed -u 's/^/$(1)> /'

# What guests need that start side by side, so that they do not get it from under each other.
.PHONY: guests-ready
guests-ready: build
	@scripts/install-packages vm
	@for kernel in $(TEST_KERNELS); do test/vm/kernels/fetch $$kernel; done
	@scripts/install-tool csi-sanity
	@$(MAKE) -s -C test/proof/checker

test-vm-on-%: build
	$(call say,Guest suites on kernel $*)
	@scripts/install-packages vm
	@test/vm/kernels/fetch $*
	@scripts/install-tool csi-sanity
	@test/vm/run-suites $* $(call named_lines,$*)

.PHONY: test-csi-vm
test-csi-vm: test-csi-vm-on-$(KERNEL) ## the suites of the CSI services on real devices: KERNEL=uml|6.12|6.18|7.3
	@test/report/count $(RESULTS) vm-csi-$(KERNEL)-guest vm-csi-$(KERNEL)-jest

test-csi-vm-on-%: build
	$(call say,CSI suites on kernel $*)
	@scripts/install-packages vm
	@test/vm/kernels/fetch $*
	@test/vm/run-suites $* --csi $(call named_lines,csi-$*)

.PHONY: test-sanity-vm
test-sanity-vm: build ## csi-sanity on real devices, mount and block, file and memory pool: KERNEL=uml|6.12|6.18|7.3
	$(call say,csi-sanity on kernel $(KERNEL))
	@scripts/install-packages vm
	@test/vm/kernels/fetch $(KERNEL)
	@scripts/install-tool csi-sanity
	@test/vm/run-suites $(KERNEL) --sanity $(call named_lines,sanity-$(KERNEL))
	@test/report/count $(RESULTS) vm-sanity-$(KERNEL)-guest \
	  $(foreach pool,disk scratch,$(foreach access,mount block,vm-sanity-$(KERNEL)-sanity-real-$(pool)-$(access)))

# In the smoke run's extent: `make test` has an hour.
.PHONY: test-csi-vm-daily
test-csi-vm-daily:
	@UBLK_SUITE=smoke $(MAKE) test-csi-vm-on-uml

.PHONY: test-vm-udev
test-vm-udev: test-vm-udev-on-$(KERNEL) ## the suites that need udev running in the guest: KERNEL=uml|6.12|6.18|7.3

test-vm-udev-on-%: build
	$(call say,Guest suites with udev on kernel $*)
	@scripts/install-packages vm
	@test/vm/kernels/fetch $*
	@test/vm/run-suites $* --udev $(call named_lines,udev-$*)

# Every file of cases on every kernel, with and without udev, two guests at a time: an hour and more where kernels are
# emulated. The table of kernels in docs/kernels.md is what came out.
MATRIX_KERNELS := uml 6.12 6.18 7.3
MATRIX_RUNS = $(foreach kernel,$(MATRIX_KERNELS),test-vm-on-$(kernel) test-vm-udev-on-$(kernel))
matrix_suites = $(foreach run,$(1) udev-$(1),vm-$(run)-guest vm-$(run)-jest) $(filter vm-$(1)-sanity%,$(VM_SUITES))

.PHONY: test-vm-matrix
test-vm-matrix: ## every guest suite on uml, 6.12, 6.18 and 7.3; writes the table in docs/kernels.md
	@$(MAKE) guests-ready TEST_KERNELS='$(MATRIX_KERNELS)'
	@status=0; \
	UBLK_EVERY=1 $(MAKE) -k -j2 $(MATRIX_RUNS) || status=1; \
	$(foreach kernel,$(MATRIX_KERNELS),echo "kernel $(kernel):"; \
	  test/report/count $(RESULTS) $(call matrix_suites,$(kernel)) || status=1;) \
	test/report/kernel-table $(CACHE)/vm/results docs/kernels.md $(MATRIX_KERNELS) || status=1; \
	exit $$status

# Ratios to in-kernel devices mean nothing in User-Mode Linux, where a system call costs many times what it should.
BENCH_KERNEL := $(KERNEL:uml=7.3)

.PHONY: bench
bench: build ## our devices beside null_blk, kernel loop and rublk in one guest: KERNEL=6.12|6.18|7.3 (default 7.3)
	$(call say,Measuring on kernel $(BENCH_KERNEL))
	@scripts/install-packages vm
	@test/vm/kernels/fetch $(BENCH_KERNEL)
	@scripts/install-tool rublk
	@test/bench/run --kernel $(BENCH_KERNEL)

include test/proof/targets.mk

.PHONY: bench-rpc
bench-rpc: build ## latency of each RPC on real devices, beside 1 and 300 volumes: KERNEL=uml|6.12|6.18|7.3
	$(call say,Latency of the RPCs on kernel $(KERNEL))
	@scripts/install-packages vm
	@test/vm/kernels/fetch $(KERNEL)
	@test/bench/rpc/run $(KERNEL)

.PHONY: bench-js
bench-js: build ## what a backend in JavaScript costs beside the native memory target, in a guest: KERNEL=uml|6.12|6.18|7.3
	$(call say,Price of a backend in JavaScript on kernel $(KERNEL))
	@scripts/install-packages vm
	@test/vm/kernels/fetch $(KERNEL)
	@test/vm/run --kernel $(KERNEL) --timeout 900 -- node test/bench/js-backend.js

.PHONY: clean
clean: ## remove what was built; downloads and kernels in .cache/ stay
	@rm -rf dist src/gen native/build $(RESULTS) $(STAMPS) $(CACHE)/native $(CACHE)/jest
