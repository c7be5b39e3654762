# FlowHound needs only Go to build and run. The tests also use real peers
# (softflowd, Prometheus, tshark, systemd): `make deps` installs what is
# missing where it may, and a test whose peer is absent says so and skips,
# unless FLOWHOUND_REQUIRE_TOOLS=1 (or CI=true) turns that into a failure.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

# softflowd and ip live where only root's PATH looks.
export PATH := $(PATH):/usr/sbin:/sbin

GO      ?= go
TIME    ?= 10s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
METRIC  := github.com/flowhound/flowhound/internal/metric
LDFLAGS := -s -w -buildid= -X $(METRIC).version=$(VERSION)

ifeq ($(CI),true)
export FLOWHOUND_REQUIRE_TOOLS := 1
endif

.PHONY: help build run demo test race fuzz hostile bench lint generate check-generated units prometheus deps check install clean

help: ## show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

build: ## build bin/flowhound, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/flowhound ./cmd/flowhound

run: build ## build and start the appliance: UDP 2055, 4739, 6343, http://127.0.0.1:8470/
	bin/flowhound run $(ARGS)

demo: build ## watch FlowHound find a botnet in an ISP's traffic, on loopback
	bin/flowhound demo $(ARGS)

test: deps ## vet, unit tests, tree lint, end-to-end tests with real peers
	$(GO) vet ./...
	$(GO) test -timeout 10m ./...

race: ## the unit tests under the race detector, without the end-to-end ones
	$(GO) test -race -short -timeout 20m ./...

fuzz: ## run every fuzz target for TIME (10s)
	@.ci/fuzz $(TIME)

hostile: ## a million hostile packets on the live socket, beside a good exporter
	FLOWHOUND_HOSTILE=1000000 $(GO) test -count=1 -timeout 10m -run '^TestHostilePackets$$' -v ./cmd/flowhound

bench: ## run every benchmark once; compare ten runs with benchstat
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./...

lint: bin/staticcheck bin/govulncheck ## a tidy go.mod, staticcheck, and govulncheck where its database can be reached
	$(GO) mod tidy -diff
	bin/staticcheck ./...
	@.ci/vulncheck

# The tools have a module of their own: their dependencies are not ours.
bin/staticcheck bin/govulncheck: internal/tools/go.mod internal/tools/go.sum
	@mkdir -p bin
	$(GO) -C internal/tools build -o $(CURDIR)/bin/ tool
	@touch bin/staticcheck bin/govulncheck

generate: ## write docs/configuration.md and docs/metrics.md from the source
	$(GO) test -count=1 -run '^Test(Configuration|Metrics)Document$$' ./internal/app -update

check-generated: generate ## fail if the generated documents were not current
	git diff --exit-code -- docs internal/app

units: ## systemd's own opinion of the units: verify, and exposure at most 2.0
	$(GO) test -count=1 -v ./systemd

prometheus: ## rules, dashboard and every query against a real Prometheus
	$(GO) test -count=1 -v ./grafana

deps: ## install the peers that the tests use, where root and apt are at hand
	@.ci/deps

check: test race lint check-generated ## everything before a commit

install: build ## install binary, units and example configuration below DESTDIR
	install -D -m 755 bin/flowhound $(DESTDIR)/usr/bin/flowhound
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system systemd/flowhound.service systemd/flowhound*.socket
	install -D -m 644 systemd/flowhound.yaml $(DESTDIR)/etc/flowhound/flowhound.yaml

clean: ## remove what was built
	rm -rf bin
	$(GO) clean -testcache
