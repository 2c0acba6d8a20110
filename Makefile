# make test is everything a change must pass. It needs Go, git, make and a C compiler (for the race detector); tests
# that need php, haproxy, openssl or swaks skip themselves where it is missing, unless RRTCP_REQUIRE_PHP=1 and so on.

MODULES := . cmd/rr tests
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 5s
BENCHTIME ?= 1s

in-modules = for module in $(MODULES); do echo "== $(1): $$module" && (cd $$module && $(2)) || exit 1; done

.PHONY: test fmt-check vet lint unit alone newer-sdk older-host fuzz bench microbench soak tidy-check cross
.NOTPARALLEL:

test: fmt-check vet lint unit alone newer-sdk older-host fuzz tidy-check cross

fmt-check:
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi

vet:
	@$(call in-modules,vet,go vet ./...)

lint:
	@$(call in-modules,lint,$(GOLANGCI_LINT) run)

unit:
	@$(call in-modules,test,go test -race -shuffle=on ./...)

# The plugin by itself, with the lowest versions it asks for: what RoadRunner v2023.3 gives it.
alone:
	GOWORK=off go vet ./...
	GOWORK=off go test ./...

# The plugin by itself with the sdk of RoadRunner v2024.1, whose hashes tests/go.sum has.
newer-sdk:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	cp go.mod "$$tmp/go.mod" && sort -u go.sum tests/go.sum >"$$tmp/go.sum" && \
	go mod edit -require=github.com/roadrunner-server/sdk/v4@v4.7.3 "$$tmp/go.mod" && \
	export GOWORK=off GOFLAGS="$$GOFLAGS -mod=mod -modfile=$$tmp/go.mod" && \
	go list -m github.com/roadrunner-server/sdk/v4 && go build ./... && go vet ./...

# The same program and its tests, with the plugins of RoadRunner v2023.3.12 around ours.
older-host:
	cd cmd/rr && GOWORK=off GOFLAGS="$$GOFLAGS -modfile=$(CURDIR)/cmd/rr/v2023.3.12.mod" go test ./...

# Every fuzz target of the plugin, for a moment each.
fuzz:
	@listed=$$(go test -list '^Fuzz' .) || { echo "$$listed"; exit 1; }; \
	targets=$$(echo "$$listed" | grep '^Fuzz') || { echo "no fuzz target found"; exit 1; }; \
	for target in $$targets; do \
		echo "== fuzz: $$target" && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . || exit 1; \
	done

# Everything at once for a while: faults of links and workers, resets, attacks. It says what it has seen.
soak:
	cd tests && SOAK=$${SOAK:-10m} go test -run '^TestSoak$$' -timeout 0 -v .

# The whole: cmd/rr as a process, beside the pool alone. BENCH=quick ends within a minute. See BENCHMARKS.md.
bench:
	@cd tests && go run ./bench

# The parts, beside their code.
microbench:
	@$(call in-modules,bench,go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...)

tidy-check:
	@$(call in-modules,tidy,GOWORK=off go mod tidy -diff)

cross:
	@for target in windows/amd64 darwin/arm64 linux/arm64; do \
		echo "== build: $$target" && \
		GOWORK=off CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go build ./... || exit 1; \
	done
