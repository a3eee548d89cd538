// Package block holds the nouns of Sextant: typed identifiers, log sequence
// numbers, epochs, positions on a volume, the geometry that maps a volume to
// its protection groups, checksums and the few kinds of error that cross
// package borders.
//
// Non-job: it stores nothing, sends nothing and starts no goroutine; it has
// no clock, no randomness and no dependency beyond the standard library.
//
// Invariants: every identifier, LSN, epoch, offset and byte count that
// crosses a package border has a type of its own from here, so that two of
// them cannot be mixed up without a conversion that a reader sees.
package block
