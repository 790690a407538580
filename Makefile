# Every target that has a description here is listed by `make help`.
.DEFAULT_GOAL := help
FUZZTIME ?= 10s
CRASHES ?= 20

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: ## Build the programs into bin/
	go build -o bin/ ./cmd/bus ./cmd/subscriber

.PHONY: test
test: ## Run the tests
	go test ./...

.PHONY: race
race: ## Run the tests with the race detector
	go test -race ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck and go mod tidy
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff

.PHONY: generate
generate: ## Generate gen/ from proto/
	go tool buf generate

.PHONY: proto-check
proto-check: ## Lint the contract, and check it against what landed and what was generated
	go tool buf lint
	go tool buf format --diff --exit-code
	go tool buf breaking --against proto/landed.binpb
	@tmp=$$(mktemp -d) && go tool buf generate --output $$tmp && diff -r gen $$tmp/gen && rm -r $$tmp \
		|| { echo 'gen/ is not what proto/ gives: run make generate'; exit 1; }

.PHONY: proto-landed
proto-landed: ## Make the present contract the one that later changes must not break
	go tool buf build --exclude-source-info -o proto/landed.binpb

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$f" && go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

.PHONY: e2e
e2e: ## Run the scenarios on the built programs; CRASHES=n kills the bus n times
	KEYTRAIL_CRASH_ROUNDS=$(CRASHES) go test -count=1 -v ./internal/e2e

.PHONY: bench
bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: demo
demo: ## Show the product at work
	go run ./cmd/bus demo

.PHONY: ci
ci: ## Run what CI runs
	.ci/run
