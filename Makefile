# make help says what there is. Everything that a new machine needs beside Go,
# git and make is installed by `make deps tools`.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

# sudo leaves out the usual places of Go from PATH.
GO := $(or $(shell command -v go 2>/dev/null),$(firstword $(wildcard /usr/local/go/bin/go /usr/lib/go/bin/go /snap/bin/go $(HOME)/go/bin/go)))
export PATH := $(if $(GO),$(patsubst %/,%,$(dir $(GO))):)$(PATH):/usr/sbin:/sbin

VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# What the tests and the lab find the programs by.
export WEFT_BIN    := $(CURDIR)/bin/weft
export WEFT_CONSUL := $(CURDIR)/.cache/bin/consul
LINT := .cache/bin/golangci-lint

# Three kinds of packages. HOSTS brings labs of whole Docker hosts up. HEAVY
# uses the kernel, a dockerd or a Consul: those named here, and those whose
# tests import what makes namespaces and servers. Everything else needs nothing
# and may run side by side, which the others may not: they share one kernel.
MODULE := github.com/weft-net/weft
HOSTS := ./test/...
HEAVY := cmd driver/dataplane driver/dns driver/mirror kvstore/consul kvstore/kvtest/consultest
IMPORTS := {{.ImportPath}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}
PACKAGES = $(or $(shell $(GO) list ./... | grep -v '^$(MODULE)/test\(/\|$$\)'),$(error go list finds no packages))
IMPORTERS = $(shell $(GO) list -f '$(IMPORTS)' ./... | grep -E ' $(MODULE)/(test/|kvstore/kvtest/consultest)' | cut -d' ' -f1)
HEAVY_PACKAGES = $(filter $(IMPORTERS) $(HEAVY:%=$(MODULE)/%) $(HEAVY:%=$(MODULE)/%/%),$(PACKAGES))
UNIT_PACKAGES = $(filter-out $(HEAVY_PACKAGES),$(PACKAGES))

# Flags of every test run; TESTFLAGS adds to them, as in
# make hosts TESTFLAGS='-run Partition'.
TESTFLAGS ?=
GOTEST = go test -race -shuffle=on $(TESTFLAGS)
FUZZTIME ?= 30s

# What is measured, and with which options, as in
# make bench BENCH=traffic,run BENCHFLAGS='-rounds 9 -json samples.json'.
BENCH ?= all
BENCHFLAGS ?=

##@ Build

.PHONY: build
build: go ## bin/weft and bin/weft-lab, static
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: clean
clean: ## removes what was built; the tools' cache outside the checkout stays
	rm -rf bin .cache

##@ Set-up

.PHONY: deps
deps: ## installs the Debian packages that are missing (root)
	@test/tools/deps.sh

.PHONY: tools
tools: go ## builds Consul and golangci-lint into a cache, once per machine
	@test/tools/install.sh consul golangci-lint

##@ Lab

.PHONY: lab
lab: root deps consul build ## three Docker hosts on this machine, with a scene played on them (root)
	bin/weft-lab down
	bin/weft-lab up --hosts 3
	bin/weft-lab scene
	@echo "(weft-lab is bin/weft-lab, for root; 'sudo make lab-down' stops the lab too.)"

.PHONY: lab-down
lab-down: root ## stops the lab and removes all of it (root)
	@[ -x bin/weft-lab ] || $(MAKE) build
	bin/weft-lab down

##@ Tests

.PHONY: test
test: root deps-check tools ## everything: lint, then unit, heavy and hosts (root)
	@MAKE='$(MAKE)' test/tools/steps.sh build lint unit heavy hosts

.PHONY: lint
lint: go ## go.mod, the rules of .golangci.yml, formatting, the shell scripts
	@test/tools/install.sh golangci-lint
	@bad=0; \
	go mod tidy -diff || { echo "go.mod or go.sum is not tidy: run 'go mod tidy'"; bad=1; }; \
	$(LINT) run ./... || bad=1; \
	shellcheck .ci/run test/tools/*.sh || { echo "shellcheck found something, or is missing: 'sudo make deps' installs it"; bad=1; }; \
	exit $$bad

.PHONY: unit
unit: go ## the tests that need neither root nor another program
	$(GOTEST) -timeout 5m $(UNIT_PACKAGES)

.PHONY: heavy
heavy: root deps-check consul ## the tests against this kernel, a real dockerd and a real Consul (root)
	$(GOTEST) -p 1 -timeout 5m $(HEAVY_PACKAGES)

.PHONY: hosts
hosts: root deps-check consul build ## the tests on labs of several Docker hosts, and the house rules (root)
	$(GOTEST) -v -p 1 -timeout 12m $(HOSTS)

.PHONY: bench
bench: root deps-check consul build ## weft beside Docker's own networks, as a table (root)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o .cache/bin/bench ./test/bench
	.cache/bin/bench -only '$(BENCH)' $(BENCHFLAGS)

.PHONY: gobench
gobench: root deps-check consul ## the benchmarks in Go of single functions (root)
	go test -run '^$$' -bench . -benchmem -p 1 -timeout 20m $(filter-out $(MODULE)/test/%,$(PACKAGES))

.PHONY: fuzz
fuzz: go ## each fuzz target for FUZZTIME (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "==> $$target in $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

.PHONY: fmt
fmt: ## formats the tree as lint wants it
	@test/tools/install.sh golangci-lint
	$(LINT) fmt ./...

.PHONY: vuln
vuln: go ## known vulnerabilities in what weft links; asks the Go vulnerability database
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What other targets ask for first.

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "this makes network namespaces and so needs root: run it as 'sudo make $(or $(MAKECMDGOALS),test)'" >&2; exit 1; }

.PHONY: go
go:
	@command -v go >/dev/null || { echo "go is not in PATH, nor where it is usually put: install the version that go.mod names, https://go.dev/dl" >&2; exit 1; }

.PHONY: consul
consul: go
	@test/tools/install.sh consul

.PHONY: deps-check
deps-check:
	@test/tools/deps.sh --check
