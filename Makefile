# Sextant's build. `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

GO     ?= go
BIN    := bin
CACHE  := $(CURDIR)/.cache
TOOLS  := $(CACHE)/bin
export SEXTANT_CACHE ?= $(CACHE)

# golangci-lint is built from source through the Go module proxy. Its version
# is in its name: a new one is built, an old one is left behind.
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

# The virtual machine's tests run by themselves, without the race detector:
# an emulated guest wants the whole machine.
# So do those that break a cluster of processes at random: each of its packets
# passes through the test.
VM_PACKAGES   := ./integration/vm/...
TEST_PACKAGES  = $(shell $(GO) list ./... | grep -v -e '/integration/vm' -e '/integration/torture')
TEST_TIMEOUT  ?= 20m
FUZZTIME      ?= 30s

.DEFAULT_GOAL := build
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

.PHONY: build
build: ## build bin/sextant
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/sextant .

.PHONY: run
run: build ## build, start a whole system in one process, tell how to attach to it
	@scripts/run

.PHONY: test
test: deps fmt vet lint test-race test-ext4 test-crash test-sim mutants test-torture test-vm ## everything that CI runs

.PHONY: deps
deps: ## install the Debian packages that the tests need, or say which lack
	@scripts/deps

.PHONY: fmt
fmt: ## check that gofmt has nothing to change
	@files=$$(git ls-files -co --exclude-standard -- '*.go' | xargs -r gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt would change (run gofmt -w):"; echo "$$files"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, then our own rules
	$(GOLANGCI) run
	$(GO) test ./internal/lint

# A program under the race detector sleeps a second when it ends, unless told
# otherwise; scripts run the command hundreds of times.
.PHONY: test-race
test-race: export GORACE = atexit_sleep_ms=50
test-race: ## go test -race on all packages but those that run by themselves
	$(GO) test -race -timeout $(TEST_TIMEOUT) -skip '$(EXT4_TEST)' $(TEST_PACKAGES)

# All tests of the log store, which test-race has run in memory, on ext4.
EXT4_TEST := ^TestAllOnExt4$$

.PHONY: test-ext4
test-ext4: ## the log store's tests on ext4 in a loop file
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./logstore -run '$(EXT4_TEST)'

# Random scripts from a seed drawn anew; a failure prints the command that
# repeats it.
CRASH := $(GO) test -count=1 -v -timeout 0 ./logstore -run '^TestCrashRandom$$'
CRASH_QUIET := grep -vE '^(=== |    --- PASS)'
N ?= 100000

.PHONY: crash
crash: ## N (100000) power cuts of the log store, random scripts
	$(CRASH) -crash.n=$(N) | $(CRASH_QUIET)

.PHONY: bench-open
bench-open: ## how long stores of 10, 20 and 50 GiB take to open (needs 70 GB)
	$(GO) test ./logstore -run TestOpenTimes -v -timeout 20m -open.gib 10,20,50

.PHONY: test-crash
test-crash: ## 60 s of that; power cuts at each step of cleaning
	$(CRASH) -crash.time=60s | $(CRASH_QUIET)
	$(GO) test -count=1 ./logstore -run '^TestCrashAtEachStepOfCleaning$$'

.PHONY: torture
torture: ## MINUTES (30) of a cluster of processes under random faults, its clients' history checked; SEED repeats a plan
	$(GO) test -count=1 -v -timeout 0 ./integration/torture -run '^TestTorture$$' -torture.time=$(or $(MINUTES),30)m -torture.seed=$(or $(SEED),0)

.PHONY: test-torture
test-torture: ## 2 minutes of that; a zone away and one node more; file systems whose gateway dies
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./integration/torture

# Worlds of the simulator. A failure prints the command that repeats it with
# what happened last: make sim SEED=...
SIM := $(GO) test -count=1 -v -timeout 0 ./integration/sim -run '^TestProtocol$$'

.PHONY: sim
sim: ## the protocol in N simulated worlds, or for TIME (10m), on CPUS (1); or one of them: SEED=... LINES=150
	$(SIM) $(if $(SEED),-sim.seed=$(SEED) -sim.lines=$(or $(LINES),150),$(if $(filter command environment,$(firstword $(origin N))),-sim.n=$(N),-sim.time=$(or $(TIME),10m)) -sim.cpus=$(or $(CPUS),1)) | grep -v '^=== '

.PHONY: test-sim
test-sim: ## 40 s of fresh worlds
	$(SIM) -sim.time=40s | grep -v '^=== '

.PHONY: mutants
mutants: ## break each rule on purpose: the tests must notice
	$(GO) run ./internal/mutant/hunt

.PHONY: test-vm
test-vm: ## the tests in a virtual machine: a real kernel attaches
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) $(VM_PACKAGES)

.PHONY: fuzz
fuzz: ## each fuzz target of the tree for FUZZTIME (30s)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: bench
bench: deps build ## Sextant beside nbdkit, in one run; QUICK=1 takes under 90 s
	$(GO) run ./integration/bench/cmd --sextant $(BIN)/sextant --out bench/results $(if $(QUICK),--quick)

.PHONY: bench-clean
bench-clean: ## cleaning: a store of SIZE MiB (2048), FILE MiB a file (as a disk of that size has), 80 % live, written FACTOR times over (10)
	$(GO) test ./logstore -run TestCleaningShow -count=1 -v -timeout 60m \
		-clean.size=$(or $(SIZE),2048) -clean.file=$(or $(FILE),0) -clean.factor=$(or $(FACTOR),10)

.PHONY: replace-show
replace-show: ## writes at QD32 with and without a segment being replaced, FOR (20s) each, TURNS (3) times
	$(GO) test ./integration -run TestReplaceShow -count=1 -v -timeout 30m \
		-replace.for=$(or $(FOR),20s) -replace.turns=$(or $(TURNS),3) -replace.size=$(or $(SIZE),512) -replace.judge

.PHONY: takeover
takeover: ## kill a gateway under load with 1 and GROUPS (1000) groups written: how long another takes to serve
	$(GO) test ./integration -run 'TestTakeoverAfterKill' -count=1 -v -timeout 20m -takeover.groups 1,$(or $(GROUPS),1000) -takeover.within 1s | grep -v '^=== '

.PHONY: hydrate-show
hydrate-show: ## a daemon away for AWAY (60s) under load, for longer than the logs, a lost disk; beside cp (RATIO 0.5); SIZE (3072) MiB, 50 GB of disk
	$(GO) test ./integration -run TestHydrationShow -count=1 -v -timeout 30m \
		-hydrate.away=$(or $(AWAY),60s) -hydrate.size=$(or $(SIZE),3072) -hydrate.ratio=$(or $(RATIO),0.5)

.PHONY: generate
generate: ## regenerate what is generated
	@scripts/deps generate
	$(GO) generate ./...

.PHONY: clean
clean: ## remove what was built and cached here
	rm -rf $(BIN) $(CACHE)

# Outside this module, so that go.mod lists only what Sextant is made of.
$(GOLANGCI):
	@mkdir -p $(TOOLS) && work=$$(mktemp -d $(TOOLS)/build.XXXXXX) && trap 'rm -rf "$$work"' EXIT && \
	echo "building golangci-lint $(GOLANGCI_VERSION)" && \
	GOBIN="$$work" GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) && \
	mv "$$work/golangci-lint" $@
