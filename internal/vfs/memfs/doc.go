// Package memfs is a disk in memory that can lose power. It knows of each
// sector of 512 bytes, of each file's length and of each name whether it is
// durable, and CrashClone makes the disk that a machine would find after a
// power cut at that moment.
//
// It is harsher than a good disk, so that code must not count on kindness:
// any subset of the sectors that were not synced survives, in any order (torn
// batches); Sync makes nothing durable beyond the file's durable length,
// which only SyncMeta moves (trap T18); names made, changed or removed since
// the last SyncDir may be lost, the newest first; and a Direct file refuses
// memory, offsets and lengths that are not aligned.
//
// Contents share pages and copy what changes, so that a clone costs a pointer
// for each page: a test can look at thousands of cuts.
//
// Non-job: permissions, links, folders that lose power (MkdirAll is durable
// at once), time.
//
// Invariants: what was synced is in every clone; what was never written is in
// none. A clone shares nothing with its origin.
//
// Goroutines: none. All methods may be called from any goroutine; one lock
// covers a disk.
package memfs
