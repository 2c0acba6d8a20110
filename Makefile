# make test is everything a change must pass. It needs Go, git, make and a C compiler (for the race detector); tests
# that need php, phpunit, phpcs, python3, haproxy, openssl, nats-server, redis-server, promtool or swaks skip themselves where it is missing, unless
# RRTCP_REQUIRE_PHP=1 and so on.

MODULES := . cmd/rr tests tests/bench
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 5000x
BENCHTIME ?= 1s

LINES := v2023.3.12 v2024.3.5 v2025.1.15

# What can differ by RoadRunner line: the program and its commands, the pool and its workers, resets, streams, RPC, Stop. The
# other tests are of code that is the same on every line; they run with v2024.1.5.
MATRIX := AllPluginsTogether Replies ConnectionEnds PHPWorker PHPKit Bulk RPCClose.* .*Worker.* .*Reset.* Stop.* .*Stream.* Serve Serve[AD].* \
	ClusterPushes ClusterLists Validate.* .*Command .*Commands Usage Version ErrorsInOneLine Health Metrics Overload FirstComeFirstServed MaxJobs.* \
	SupervisorLimits.* ExecTTL DebugPool DynamicAllocator AnswersToClose CloseTimeoutStart Velox

# What many clients do to a program as its users have it. The race detector would only slow the clients down.
PLAIN := IdleConnectionMemory IdleTLSConnectionMemory TLSAbuse Attacks ThousandsOfWaitingClients BroadcastToTenThousand
PLAIN_TESTS = '^Test($(subst $() ,|,$(PLAIN)))$$'

in-modules = for module in $(MODULES); do echo "== $(1): $$module" && (cd $$module && $(2)) || exit 1; done

.PHONY: test checks fmt-check vet lint hosts host $(LINES:%=host-%) unit black-box plain php alone newer-sdk rr2025 next matrix $(LINES:%=matrix-%) fuzz fuzz-long bench microbench soak tidy-check cross

# Tests mostly wait, so they run side by side: the longest ones first.
test:
	$(MAKE) --jobs=2 --output-sync=target checks
	$(MAKE) --jobs=4 --output-sync=target black-box matrix plain hosts unit alone rr2025 next fuzz

checks: fmt-check vet lint php newer-sdk tidy-check cross

fmt-check:
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi

vet:
	@$(call in-modules,vet,go vet ./...)

lint:
	@$(call in-modules,lint,$(GOLANGCI_LINT) run)
	cd rr2025 && GOWORK=off $(GOLANGCI_LINT) run
	cd rr2025/cmd/rr && GOWORK=off $(GOLANGCI_LINT) run
	cd next && GOWORK=off $(GOLANGCI_LINT) run

unit: MODULES := . tests/bench
unit:
	@$(call in-modules,test,go test -race -shuffle=on ./...)

black-box:
	cd tests && go test -race -shuffle=on -timeout 30m -skip $(PLAIN_TESTS) ./...

plain:
	cd tests && go test -shuffle=on -timeout 30m -run $(PLAIN_TESTS) .

# The program's own tests, with a RoadRunner of each line in their process.
hosts: host $(LINES:%=host-%)

host:
	cd cmd/rr && go test -race -shuffle=on ./...

$(LINES:%=host-%): host-%:
	cd $(PROGRAM) && GOWORK=off go test -modfile=$(MOD) .

host-v2023.3.12: PROGRAM = cmd/rr
host-v2023.3.12: MOD = v2023.3.12.mod
host-v2024.3.5: PROGRAM = rr2025/cmd/rr
host-v2024.3.5: MOD = v2024.3.5.mod
host-v2025.1.15: PROGRAM = rr2025/cmd/rr
host-v2025.1.15: MOD = go.mod

# The kit for PHP: its tests and its style. RRTCP_PHP_VENDOR says where the real Spiral packages are, if not the stand-ins.
php:
	@if command -v phpunit >/dev/null; then cd php && phpunit; \
	else echo "phpunit is not installed: the kit for PHP is not tested"; [ "$$RRTCP_REQUIRE_PHPUNIT" != 1 ]; fi
	@if command -v phpcs >/dev/null; then \
		phpcs --standard=PSR12 php tests/bench/php && \
		phpcs --standard=PSR12 --exclude=PSR1.Files.SideEffects,PSR1.Classes.ClassDeclaration examples/php; \
	else echo "phpcs is not installed: the style of PHP is not checked"; [ "$$RRTCP_REQUIRE_PHPCS" != 1 ]; fi

# The plugin by itself, with the lowest versions it asks for: what RoadRunner v2023.3 gives it.
alone:
	GOWORK=off go vet ./...
	GOWORK=off go test ./...

# The plugin by itself with the sdk of RoadRunner v2024.1, whose hashes tests/bench/go.sum has.
newer-sdk:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	cp go.mod "$$tmp/go.mod" && sort -u go.sum tests/bench/go.sum >"$$tmp/go.sum" && \
	go mod edit -require=github.com/roadrunner-server/sdk/v4@v4.7.3 "$$tmp/go.mod" && \
	export GOWORK=off GOFLAGS="$$GOFLAGS -mod=mod -modfile=$$tmp/go.mod" && \
	go list -m github.com/roadrunner-server/sdk/v4 && go build ./... && go vet ./...

# The plugin for RoadRunner v2024.3 and v2025.1 by itself, with the lowest versions it asks for.
rr2025:
	cd rr2025 && GOWORK=off go vet ./... && GOWORK=off go test ./...

# The plugin for RoadRunner's next major by itself: that RoadRunner's other plugins can't be had yet.
next:
	cd next && GOWORK=off go vet ./... && GOWORK=off go test -race ./...

# MATRIX on each line. Not under the race detector: that has run over the same code. -count=1: Go does not know that the tests build the
# program, and would take the result of another one for this one's.
matrix: $(LINES:%=matrix-%)

$(LINES:%=matrix-%): matrix-%:
	cd tests && RR=$* go test -count=1 -timeout 30m -run "^Test($$(echo '$(MATRIX)' | tr ' ' '|'))\$$" .

# Every fuzz target of the plugin, for a few seconds each: so many inputs, since Go sometimes takes the end of a time given
# for a failure ("context deadline exceeded"). Inputs are made shorter in 1000 steps at most: a minute each, which is the default,
# would be most of the time.
fuzz:
	@found=; for package in $$(go list ./...); do \
		listed=$$(go test -list '^Fuzz' $$package) || { echo "$$listed"; exit 1; }; \
		for target in $$(echo "$$listed" | grep '^Fuzz'); do \
			found=1; echo "== fuzz: $$package $$target" && \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1000x $$package || exit 1; \
		done; \
	done; [ -n "$$found" ] || { echo "no fuzz target found"; exit 1; }

# Every fuzz target for an hour each. Inputs that fail are in testdata/fuzz of the package, to be committed with the cure.
fuzz-long:
	@$(MAKE) fuzz FUZZTIME=1h

# Everything at once for a while: faults of links, workers and the machine, resets, attacks. It says what it has seen.
soak:
	cd tests && SOAK=$${SOAK:-10m} go test -run '^TestSoak$$' -timeout 0 -v .

# The whole: cmd/rr as a process, beside the pool alone. BENCH=quick ends within a minute; BENCH=php measures PHP alone.
# See BENCHMARKS.md.
bench:
	@cd tests/bench && go run .

# The parts, beside their code.
microbench:
	@$(call in-modules,bench,go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...)

tidy-check:
	@$(call in-modules,tidy,GOWORK=off go mod tidy -diff)
	@for mod in cmd/rr/v2023.3.12.mod rr2025/go.mod rr2025/cmd/rr/go.mod rr2025/cmd/rr/v2024.3.5.mod next/go.mod; do \
		echo "== tidy: $$mod" && \
		(cd $$(dirname $$mod) && GOWORK=off go mod tidy -diff -modfile=$$(basename $$mod)) || exit 1; \
	done

cross:
	@for target in windows/amd64 darwin/arm64 linux/arm64; do \
		echo "== build: $$target" && \
		export GOWORK=off CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} && \
		go build ./... && (cd rr2025 && go build ./...) && (cd next && go build ./...) || exit 1; \
	done
