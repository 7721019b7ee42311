# make help says what there is. Everything that a new machine needs beside Go,
# git and make is installed by `make deps tools`.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

# sudo leaves out the usual places of Go from PATH.
GO := $(or $(shell command -v go 2>/dev/null),$(firstword $(wildcard /usr/local/go/bin/go /usr/lib/go/bin/go /snap/bin/go $(HOME)/go/bin/go)))
export PATH := $(if $(GO),$(patsubst %/,%,$(dir $(GO))):)$(PATH):/usr/sbin:/sbin

DESCRIBED = $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
# What make test-docker is told is Docker's version and not weft's.
ifneq ($(filter test-docker,$(MAKECMDGOALS)),)
comma := ,
DOCKERS := $(subst $(comma), ,$(if $(filter mixed,$(VERSION)),20.10 29 28.5 26.1,$(VERSION)))
override VERSION := $(DESCRIBED)
endif
VERSION ?= $(DESCRIBED)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# What the tests and the lab find the programs by.
export WEFT_BIN    := $(CURDIR)/bin/weft
export WEFT_CONSUL := $(CURDIR)/.cache/bin/consul
LINT := .cache/bin/golangci-lint

# Three kinds of packages. HOSTS brings labs of whole Docker hosts up, each in
# namespaces of its own, so three packages run at once: two leave a fifth of two CPUs
# idle. HEAVY uses the kernel, a dockerd or a Consul: those named here, and those whose
# tests import what makes namespaces and servers, all of their own; they mostly wait, so
# four run at once.
# Everything else needs nothing and may run side by side. In test/scale there is no lab.
MODULE := github.com/weft-net/weft
SCALE := $(MODULE)/test/scale
HOSTS = $(or $(filter-out $(SCALE),$(shell $(GO) list ./test/...)),$(error go list finds no packages))
HEAVY := cmd driver/dataplane driver/dns driver/mirror kvstore/consul kvstore/kvtest/consultest test/scale
IMPORTS := {{.ImportPath}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}
PACKAGES = $(or $(shell $(GO) list ./... | grep -v '^$(MODULE)/test\(/\|$$\)'),$(error go list finds no packages)) $(SCALE)
IMPORTERS = $(shell $(GO) list -f '$(IMPORTS)' ./... | grep -E ' $(MODULE)/(test/|kvstore/kvtest/consultest)' | cut -d' ' -f1)
HEAVY_PACKAGES = $(filter $(IMPORTERS) $(HEAVY:%=$(MODULE)/%) $(HEAVY:%=$(MODULE)/%/%),$(PACKAGES))
UNIT_PACKAGES = $(filter-out $(HEAVY_PACKAGES),$(PACKAGES))

# Flags of every test run; TESTFLAGS adds to them, as in
# make hosts TESTFLAGS='-run Partition'.
TESTFLAGS ?=
GOTEST = go test -race -shuffle=on $(TESTFLAGS)
# lint vets, and nobody debugs the tests' binaries: both would take a CPU long.
TESTED = $(GOTEST) -vet=off -ldflags='-s -w' -json
REPORT = go run ./test/report $(filter -v,$(TESTFLAGS))
FUZZTIME ?= 30s

# What make chaos plays, and how long.
SEED ?= 1
MINUTES ?= 10

# How many datagrams make borders sends, and into whose networks: weft's or swarm's.
FRAMES ?= 1000000
PEER ?= weft

# On which kernel make qemu runs tests, without which of its modules, which ones.
KERNEL ?= 6.1
WITHOUT ?=
PACKAGE ?=
RUN ?=

# How many packets make fastpath-fuzz crafts.
PACKETS ?= 10000000

# How often make doctor-table makes each fault.
ROUNDS ?= 5

# How many networks make networks makes, in a cluster that has removed how many.
N ?= 500
TOMBSTONES ?= 5000

# What make scale is told, as in make scale HOSTS=30 MINUTES=5; what it is not told, the
# simulator decides. SCALEFLAGS has more of its options.
given = $(if $(filter command environment,$(origin $(1))),$(2) $($(1)))
SCALEFLAGS ?=

# What is measured, and with which options, as in
# make bench BENCH=traffic,run BENCHFLAGS='-rounds 9 -json samples.json'.
STARTS ?= 50
BENCH ?= all
BENCHFLAGS ?=

# Which faults are played and how often, as in
# make faults FAULTS=weft-kill,link-cut RUNS=1; all of them rewrite docs/faults.md.
FAULTS ?= all
RUNS ?= 5
FAULTFLAGS ?=

##@ Build

.PHONY: build
build: go ## bin/weft and bin/weft-lab, static
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: clean
clean: ## removes what was built; the tools' cache outside the checkout stays
	rm -rf bin dist .cache

##@ Install

# Everything here takes ARCH, amd64 or arm64; by default this machine's.
ARCH ?= $(shell $(GO) env GOARCH)
ARCHES := amd64 arm64
BINARY = dist/linux_$(ARCH)/weft
# Whoever builds one commit twice gets the same bytes, packages included.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)
# Of a tag like v1.2.3 the version; without one something older than any.
DEB_VERSION = $(if $(findstring .,$(VERSION)),$(patsubst v%,%,$(VERSION)),0~git$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y%m%d.%H%M%S).$(COMMIT))
NFPM ?= go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
PREFIX ?= /usr/local
PLUGIN ?= weft:latest
IMAGE ?= weft:latest

.PHONY: binary
binary: go ## dist/linux_ARCH/weft, static and the same each time
	@mkdir -p $(dir $(BINARY))
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS) -buildid=' -o $(BINARY) ./cmd/weft

.PHONY: man
man: go ## dist/man/*.8.gz, the manual pages, and dist/completion, for bash, zsh and fish
	@rm -rf dist/man dist/completion && mkdir -p dist/man dist/completion
	go build -trimpath -buildvcs=false -o .cache/man/weft ./cmd/weft
	@env -u WEFT_CONTROL .cache/man/weft man dist/man
	@gzip -n -9 dist/man/*.8
	@for shell in bash zsh fish; do .cache/man/weft completion $$shell >dist/completion/$$shell || exit 1; done

# Where each shell looks for weft's completion, below PREFIX.
COMPLETIONS := bash:bash-completion/completions/weft zsh:zsh/vendor-completions/_weft fish:fish/vendor_completions.d/weft.fish

.PHONY: install
install: binary man ## weft, its unit, settings and manual pages, into DESTDIR, PREFIX=/usr/local (root)
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/weft
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 dist/man/*
	@for c in $(COMPLETIONS); do install -D -m 0644 dist/completion/$${c%:*} $(DESTDIR)$(PREFIX)/share/$${c#*:} || exit 1; done
	install -d -m 0755 $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/bin/weft|$(PREFIX)/bin/weft|' deploy/weft.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/weft.service
	[ -e $(DESTDIR)/etc/weft/weft.env ] || install -D -m 0600 deploy/weft.env $(DESTDIR)/etc/weft/weft.env
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
	@echo "Now set WEFT_STORE in /etc/weft/weft.env and run: systemctl enable --now weft"

.PHONY: uninstall
uninstall: ## removes what install has put there; state and settings stay (root)
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl disable --now weft || true
	rm -f $(DESTDIR)$(PREFIX)/bin/weft $(DESTDIR)$(PREFIX)/lib/systemd/system/weft.service
	rm -f $(DESTDIR)$(PREFIX)/share/man/man8/weft.8.gz $(DESTDIR)$(PREFIX)/share/man/man8/weft-*.8.gz
	@for c in $(COMPLETIONS); do rm -f $(DESTDIR)$(PREFIX)/share/$${c#*:}; done
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
	@sed -n '/^cat /,/^TEXT/{//!p}' deploy/deb/prerm

.PHONY: deb
deb: binary man ## dist/weft_VERSION_ARCH.deb
	rm -f dist/weft_*_$(ARCH).deb
	WEFT_ARCH=$(ARCH) WEFT_VERSION='$(DEB_VERSION)' WEFT_BINARY=$(BINARY) $(NFPM) package --config deploy/deb/nfpm.yaml --packager deb --target dist/

.PHONY: rootfs
rootfs: binary ## dist/plugin_ARCH, the directory that docker plugin create takes, for PLUGIN=weft:latest
	deploy/plugin/rootfs.sh $(BINARY) dist/plugin_$(ARCH) '$(PLUGIN)'

.PHONY: plugin
plugin: rootfs ## the managed plugin PLUGIN=weft:latest, in this machine's Docker, not enabled yet
	docker plugin create '$(PLUGIN)' dist/plugin_$(ARCH)
	@echo "Now run: docker plugin set $(PLUGIN) WEFT_STORE=consul://HOST:8500 && docker plugin enable $(PLUGIN)"

.PHONY: plugin-upgrade
plugin-upgrade: rootfs ## replaces the managed plugin PLUGIN under running containers; its settings and state stay (root)
	deploy/plugin/upgrade.sh '$(PLUGIN)' dist/plugin_$(ARCH)

.PHONY: image
image: image-context ## the container image IMAGE=weft:latest, in this machine's Docker
	docker build -t '$(IMAGE)' -f Dockerfile dist/image_$(ARCH)

.PHONY: image-context
image-context: binary
	rm -rf dist/image_$(ARCH) && mkdir -p dist/image_$(ARCH)/var
	install -m 0755 $(BINARY) dist/image_$(ARCH)/weft
	ln -s /run dist/image_$(ARCH)/var/run

.PHONY: dist
dist: go ## binaries, packages and plugins of all architectures, with their sums
	rm -rf dist
	@for arch in $(ARCHES); do $(MAKE) deb rootfs ARCH=$$arch; done
	@cd dist && for arch in $(ARCHES); do \
		tar --sort=name --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner -cf - plugin_$$arch | gzip -n >weft-plugin_$$arch.tar.gz; \
		cp linux_$$arch/weft weft_linux_$$arch; \
		rm -rf plugin_$$arch linux_$$arch; \
	done && rm -rf man completion && sha256sum * >SHA256SUMS && cat SHA256SUMS

##@ Set-up

.PHONY: deps
deps: ## installs the Debian packages that are missing (root)
	@test/tools/deps.sh

.PHONY: tools
tools: go old machines ## builds Consul, golangci-lint and an old weft into a cache, and unpacks qemu with a kernel there, once per machine
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

# A recipe that names make itself is run even by make -n.
THIS_MAKE := $(MAKE)
.PHONY: test
test: root deps-check tools ## everything: lint, then unit, heavy and hosts (root)
	@MAKE='$(THIS_MAKE)' test/tools/steps.sh build lint unit+heavy hosts

# Where this architecture has the kernel's headers.
export BPF2GO_CFLAGS := -I/usr/include/$(shell uname -m)-linux-gnu
FASTPATH := driver/dataplane/fastpath

.PHONY: bpf
bpf: go ## compiles the programs of the fast path anew, by clang
	go generate ./$(FASTPATH)

# What is committed is what the compiler makes of the source.
.PHONY: bpf-check
bpf-check: go
	@was=$$(mktemp -d); trap 'cp "$$was"/* $(FASTPATH)/; rm -r "$$was"' EXIT; \
	cp $(FASTPATH)/programs_bpfel.* "$$was"; \
	$(MAKE) bpf; \
	for f in "$$was"/*; do \
		cmp -s "$$f" "$(FASTPATH)/$${f##*/}" || { echo "$(FASTPATH)/$${f##*/} is not made of the source: run 'make bpf', with clang 14"; bad=1; }; \
	done; \
	exit $${bad:-0}

.PHONY: lint
lint: go ## go.mod, the rules of .golangci.yml, formatting, the shell scripts
	@test/tools/install.sh golangci-lint
	@bad=0; \
	$(MAKE) bpf-check || bad=1; \
	go mod tidy -diff || { echo "go.mod or go.sum is not tidy: run 'go mod tidy'"; bad=1; }; \
	$(LINT) run ./... || bad=1; \
	shellcheck .ci/run test/tools/*.sh deploy/plugin/*.sh deploy/deb/p* || { echo "shellcheck found something, or is missing: 'sudo make deps' installs it"; bad=1; }; \
	exit $$bad

# Parallel tests mostly wait.
.PHONY: unit
unit: go ## the tests that need neither root nor another program
	$(TESTED) -parallel 8 -timeout 5m $(UNIT_PACKAGES) | $(REPORT)

.PHONY: heavy
heavy: root deps-check consul ## the tests against this kernel, a real dockerd and a real Consul (root)
	$(TESTED) -p 4 -timeout 10m $(HEAVY_PACKAGES) | $(REPORT)

.PHONY: hosts
hosts: root deps-check consul old machines build ## the tests on labs of several Docker hosts, and the house rules (root)
	$(TESTED) -p 3 -timeout 15m $(HOSTS) | $(REPORT) -v

.PHONY: qemu
qemu: go ## the tests of PACKAGE that RUN names on Debian's KERNEL=6.1 or 6.12, without the modules WITHOUT=cls_bpf,…, in a virtual machine
	@[ -n '$(PACKAGE)' ] || { echo "say which tests: make qemu PACKAGE=./driver/dataplane RUN=Fast" >&2; exit 1; }
	@test/tools/install.sh qemu kernel-$(KERNEL)
	go run ./test/qemu -kernel $(KERNEL) $(if $(WITHOUT),-without $(WITHOUT)) $(PACKAGE) -test.v $(if $(RUN),-test.run '$(RUN)') $(TESTFLAGS)

.PHONY: doctor-table
doctor-table: root deps-check consul build ## the table in docs/doctor.md anew: every fault that weft doctor must find, ROUNDS times (root)
	go test -race -v -count 1 -timeout 0 ./test/doctor -run '^TestFaults$$' -rounds $(ROUNDS) -table ../../docs/doctor.md

.PHONY: chaos
chaos: root deps-check consul build ## random operations and faults on three hosts for MINUTES, as SEED decides, then what must hold (root)
	go test -race -v -count 1 -timeout 0 ./test/chaos -run '^TestChaos$$' -seed $(SEED) -minutes $(MINUTES)

.PHONY: fastpath-fuzz
fastpath-fuzz: root go ## PACKETS crafted packets for the programs of the fast path, as SEED decides: what passes, and should not (root)
	go test -v -count 1 -timeout 0 ./$(FASTPATH) -run '^TestNoProgramLetsPassWhatItMustNot$$' -packets $(PACKETS) -seed $(SEED)

.PHONY: borders
borders: root deps-check consul build ## FRAMES datagrams, as SEED decides, from all who should not send into a network of PEER, weft or swarm (root)
	go test -race -v -count 1 -timeout 0 ./test/borders -run '^TestBorders$$' -seed $(SEED) -frames $(FRAMES) -peer $(PEER)

.PHONY: networks
networks: root deps-check consul build ## N networks made and removed where TOMBSTONES were before: how many come back (root)
	go test -v -count 1 -timeout 0 ./test/networks -networks $(N) -tombstones $(TOMBSTONES)

.PHONY: test-docker
test-docker: root deps-check consul build ## a scene and the tests on labs whose hosts have Docker VERSION=20.10, 26.1, 28.5, 29, a list, or mixed (root)
	@[ -n '$(DOCKERS)' ] || { echo "say which Docker: make test-docker VERSION=28.5" >&2; exit 1; }
	@test/tools/install.sh $(DOCKERS:%=docker-%)
	trap 'bin/weft-lab --lab test-docker down' EXIT; \
	bin/weft-lab --lab test-docker up --docker '$(subst $(eval) ,$(comma),$(DOCKERS))'; \
	bin/weft-lab --lab test-docker scene
	WEFT_DOCKER_VERSION='$(DOCKERS)' $(GOTEST) -v -p 1 -timeout 20m ./test/hosts ./test/names ./test/recovery ./test/chaos
	WEFT_DOCKER_VERSION='$(DOCKERS)' $(GOTEST) -v -timeout 20m -run 'TestPlugin|TestSwarm|TestContainer|TestCompose' ./test/install

.PHONY: faults
faults: root deps-check consul build ## what containers notice of each fault, measured: rewrites docs/faults.md (root)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o .cache/bin/faults ./test/faults
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)+1 -X main.commit=$(COMMIT)' -o .cache/bin/weft-next ./cmd/weft
	.cache/bin/faults -only '$(FAULTS)' -runs $(RUNS) -next .cache/bin/weft-next $(if $(filter all,$(FAULTS)),-out docs/faults.md) $(FAULTFLAGS)

.PHONY: bench
bench: root deps-check consul build ## weft beside Docker's own networks, as a table (root)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o .cache/bin/bench ./test/bench
	[ '$(BENCH)' = names ] || .cache/bin/bench -only '$(BENCH)' $(BENCHFLAGS)
	case '$(BENCH)' in all | names) $(MAKE) bench-names ;; esac

.PHONY: bench-names
bench-names: root deps-check consul build ## the names' part of bench alone (root)
	WEFT_STARTS=$(STARTS) go test -v -p 1 -timeout 20m -run 'First|IsFound' -bench 'Latency|Flood|MemoryPerSandbox|UDP' \
		./test/names ./driver/dns | grep -E '^Benchmark|starts|FAIL|p99|^ok|^cpu'

.PHONY: scale
scale: root deps-check consul ## what a cluster of HOSTS simulated hosts costs, with NETWORKS and ENDPOINTS, for MINUTES, at RATE changes a second and LOSS %, as a table (root)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o .cache/bin/scale ./test/scale
	.cache/bin/scale $(call given,HOSTS,-hosts) $(call given,NETWORKS,-networks) $(call given,ENDPOINTS,-endpoints) \
		$(call given,MINUTES,-minutes) $(call given,RATE,-rate) $(call given,LOSS,-loss) $(call given,SEED,-seed) $(SCALEFLAGS)

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

.PHONY: old
old: go
	@test/tools/install.sh weft-old

# They are Debian's; elsewhere test/qemu fails, and nothing else.
.PHONY: machines
machines:
	@! command -v apt-get >/dev/null || test/tools/install.sh qemu kernel-6.1

.PHONY: deps-check
deps-check:
	@test/tools/deps.sh --check
