// Package metadatapb is the generated code of the metadata service's API
// (api.proto) and of its Raft commands and snapshots (state.proto).
//
// Non-job: nothing but generated code lives here. Callers speak the types of
// package metadata instead.
//
// Invariants: a field's number and meaning never change; api.proto and
// state.proto carry their version logs.
//
// Goroutines: none.
//
// Regenerating needs protoc (Debian: protobuf-compiler); the two plugins are
// built at pinned versions by gen.sh, with the Go toolchain.
package metadatapb

//go:generate ./gen.sh
