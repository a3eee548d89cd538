// Package vfstest runs a test on every disk that files may lie on: in memory
// (memfs), and on ext4 in a loop file, which is what production has, with
// O_DIRECT, fallocate, delayed allocation and an end of its space.
//
// Job: Each runs a test on both; Ext4 gives a file system of a test's own, of
// any size, to fill it up. NewDisk is a disk that can be looked at after a
// power cut, on memory or on ext4: there a cut loses nothing that was written,
// which is one of the outcomes that a power cut may have.
//
// Non-job: faults (faultfs), and cuts that lose something (memfs).
//
// A loop file needs root, mount and mkfs.ext4 (scripts/deps).
//
// Invariants: nothing is left on the machine, also after a kill: the image has
// no name once it is mounted, the mount has no place once the test process has
// it open, and both go with the process.
//
// Goroutines: none.
package vfstest
