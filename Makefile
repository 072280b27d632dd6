# `make demo` shows it, `make test` proves it; `make help` lists the others.
#
#   make demo                 VIPs of the examples in the tables of real bird2 routers; KEEP=1 leaves it up (root)
#   make demo-down            removes what KEEP=1 left up
#   make test                 everything: needs, unit and property tests, labs, cluster tests
#   make labs                 the labs alone: real daemons in network namespaces (root)
#   make lab NAME=vpn_bird    labs whose name contains NAME, with their output
#   make cluster              the product against a real Kubernetes API server, built at the first time (root)
#   make test-cluster         the walk-through on two Kubernetes nodes, then disruptions under load (root)
#   make test-guards          the traffic labs' checks go red when what they guard is taken away (root)
#   make bench                benchmarks beside bird2, FRR and GoBGP; BENCH="s1 s3 --rounds 9" chooses (root, no noise)
#   make images               container images, with Docker; REGISTRY=... PUSH=1, or OCI=FOLDER: archives, without Docker
#   make kind-up              a kind cluster with Gateway API, Multus and our images (Docker, internet)
#   make kind-demo            the walk-through on it; make kind-down takes both away
#   make charts               what the helm charts render and refuse
#   make generate             writes the CRDs anew from the types, and the charts' copies of them
#   make check                what CI also asks: format, lints, docs, licences, pure halves

SHELL := /bin/bash
# `make REGISTRY=...` alone builds the images.
.DEFAULT_GOAL := $(if $(REGISTRY),images,help)
.NOTPARALLEL:
.PHONY: help demo demo-down needs needs-labs packages test unit labs lab cluster test-cluster test-guards check under-test bench generate charts images kind-up kind-demo kind-down

# Labs are timed to milliseconds in places: two at a time is what two cores carry.
LAB_THREADS ?= 2

help:
	@sed -n 's/^#   \(make .*\)/\1/p' $(firstword $(MAKEFILE_LIST))

demo:
	@demo/run $(if $(KEEP),--keep)

demo-down:
	@demo/run --down

# CI=true adds the static checks.
test: needs $(if $(CI),check) unit charts labs cluster

needs: packages
	@tests/setup/needs
	@tests/setup/kubernetes

needs-labs: packages
	@tests/setup/needs labs

packages:
	@tests/setup/packages

unit:
	@tests/setup/needs build
	cargo test --locked --workspace --exclude l34-lab --exclude l34-charts

labs: needs-labs under-test
	cargo test --locked -p l34-lab --lib --bins --test harness --test labs -- --test-threads=$(LAB_THREADS)

lab: needs-labs under-test
	cargo test --locked -p l34-lab --test labs -- --test-threads=1 --nocapture $(NAME)

# One test of it: make cluster NAME=schema
cluster: needs under-test
	cargo test --locked -p l34-lab --test cluster -- --test-threads=$(LAB_THREADS) $(NAME)

# Nodes, images, charts, outside routers: what users type. L34_PROFILE=release takes what is delivered.
test-cluster: needs
	tests/cluster/run

# Each check of the traffic labs fails when what it guards is taken away.
test-guards: needs-labs under-test
	cargo test --locked -p l34-lab --test labs -- --test-threads=$(LAB_THREADS) traffic::guards

# What the labs run.
under-test:
	cargo build --locked -p l34-router -p l34-controller -p l34-connect -p l34-target
	cargo build --locked -p l34-bgp --example speaker

bench: needs-labs
	tests/bench/run $(BENCH)

check:
	@tests/setup/needs build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps
	tests/setup/purity
	tests/setup/licences

generate:
	cargo run --locked --quiet -p l34-crds --example crdgen
	cp crds/yaml/*.yaml deploy/PoC/files/crds/

# shellcheck has no say where it is not installed.
charts:
	@tests/setup/kubernetes helm
	cargo test --locked -p l34-charts
	! command -v shellcheck >/dev/null || shellcheck -x -P SCRIPTDIR deploy/images/* deploy/walkthrough/* deploy/*/*.sh tests/cluster/{up,down,node,older-chart,can,in,docker,images,runc,overlay,run,prove,disrupt} tests/red-before

images:
	deploy/images/build $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(VERSION),--version $(VERSION)) $(if $(PUSH),--push) $(if $(OCI),--oci $(OCI))

kind-up: images
	deploy/walkthrough/kind-up

# Whatever context is current: it is the kind cluster that they work on.
kind-demo:
	kind export kubeconfig --name l34
	deploy/walkthrough/run

kind-down:
	-kind export kubeconfig --name l34 && deploy/walkthrough/run --down
	kind delete cluster --name l34
