# Every target says what it does: make help.
#
# Nothing here is needed to try cohortsync: `go run ./cmd/demo` and
# `go test ./...` do with Go alone. `make test` adds the race detector, which
# needs a C compiler; `make lint` builds pinned tools on first use.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOLS := .cache/tools

ON_KAFKA ?= ./internal/stream/broker/... ./internal/app/... ./cmd/loadgen/... ./cmd/worker/...
N ?= 10000
SEED ?=
FUZZTIME ?= 10s
DURATION ?= 60s
FAULTS ?=
API ?=
KAFKA ?=

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the worker as bin/cohortsync, statically linked.
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/cohortsync ./cmd/worker

.PHONY: image
image: ## Build the worker's container image as cohortsync:VERSION.
	docker build --target worker --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) -t cohortsync:$(VERSION) .

.PHONY: test
test: ## Run all tests with the race detector, in random order.
	go test -race -shuffle=on -timeout 15m ./...

.PHONY: test-kafka
test-kafka: ## Run the tests that touch a broker on Apache Kafka, as a process (needs java, mvn, openssl).
	.ci/kafka go test -count=1 -timeout 15m $(ON_KAFKA)

.PHONY: sim
sim: ## Run N simulated schedules of both APIs (N=10000); SEED=n repeats one that failed.
	go test ./internal/stream -count=1 -timeout 0 -run '^TestSimulation$$' -rapid.checks=$$((($(N) + 39) / 40)) $(if $(SEED),-rapid.seed=$(SEED))

.PHONY: bench
bench: ## Measure the worker: processor time, throughput, memory, delay; one table.
	@mkdir -p .cache
	go run ./cmd/bench --json .cache/bench.json

.PHONY: chaos
chaos: ## Harm workers, Apache Kafka and Braze for DURATION (60s), and judge; SEED=, FAULTS=, API=, KAFKA=embedded.
	$(if $(filter embedded,$(KAFKA)),,@.ci/kafka-jars >/dev/null)
	go run ./cmd/chaos --duration $(DURATION) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(API),--api $(API)) $(if $(KAFKA),--kafka $(KAFKA))

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (10s).
	.ci/fuzz $(FUZZTIME)

.PHONY: cover
cover: ## Write coverage to .cache/cover.out and show the total and the least covered functions.
	@mkdir -p .cache
	go test -coverpkg=./internal/... -coverprofile=.cache/cover.out ./...
	go tool cover -func=.cache/cover.out | sort -k3 -n | awk '/^total/ {total = $$0; next} n++ < 20; END {print total}'

.PHONY: lint
lint: $(TOOLS)/.built ## Check formatting and run the linters.
	$(TOOLS)/golangci-lint run

.PHONY: fmt
fmt: $(TOOLS)/.built ## Format the code.
	$(TOOLS)/golangci-lint fmt

.PHONY: vuln
vuln: $(TOOLS)/.built ## Look for known vulnerabilities that the code can reach.
	$(TOOLS)/govulncheck ./...

.PHONY: demo
demo: ## Run the worker on an embedded Kafka and a simulated Braze that misbehaves.
	go run ./cmd/demo --faults

.PHONY: ci
ci: ## Run all gates, as the CI does.
	.ci/run

.PHONY: ci-deps
ci-deps: ## Bring up a Docker engine, Compose and the local images that the CI uses.
	.ci/docker

.PHONY: tools
tools: $(TOOLS)/.built ## Build the pinned tools into .cache/tools (a few minutes the first time).

$(TOOLS)/.built: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	CGO_ENABLED=0 GOBIN='$(CURDIR)/$(TOOLS)' go -C tools install tool
	@touch $@

.PHONY: clean
clean: ## Remove what was built: bin/ and .cache/.
	rm -rf bin .cache
