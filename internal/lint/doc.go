// Package lint holds the rules of the house that no general linter knows, as
// tests over the whole tree: who may import whom, which packages are pure,
// how large files and functions may grow, which words do not belong in the
// source.
//
// Non-job: bugs and formatting, which go vet, golangci-lint and gofmt find.
//
// Each rule is a function from parsed source to findings. It is run over the
// tree by a test named TestTree..., which must find nothing, and over made-up
// wrong source by a test named TestRule..., which must find what is wrong
// there: a rule that can no longer bite fails as well. A finding says what to
// do instead.
//
// Where the tree may not yet be as the rule wants it, a ratchet in testdata
// lists what is tolerated. A ratchet only ever shrinks: an entry that is no
// longer needed is a finding too.
//
// Invariants: a package that the table in table_test.go does not know is a
// finding, so that its place is decided when it is made; a package that the
// table knows and that does not exist yet is none.
//
// Goroutines: none. Nobody imports this package.
package lint
