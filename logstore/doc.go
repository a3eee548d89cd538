// Package logstore is one disk of a segment daemon: an append-only log that
// is the data, shared by all segments of the disk.
package logstore
