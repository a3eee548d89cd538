#!/bin/sh
# Regenerates the Go code beside the .proto files. Needs protoc 3.21 or later
# (Debian: apt-get install protobuf-compiler) and the Go toolchain.
set -eu
cd "$(dirname "$0")/../.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH=$bin:$PATH protoc -I . \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	metadata/metadatapb/api.proto metadata/metadatapb/state.proto
