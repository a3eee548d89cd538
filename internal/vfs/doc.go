// Package vfs is the only door to files: an interface narrow enough to be
// implemented by a disk in memory that can crash (memfs) and by a disk that
// fails by rule (faultfs), and the operating system behind it (OS).
//
// Non-job: it caches nothing, buffers nothing, retries nothing that failed
// for a reason. What is durable when is said at each method and nowhere
// softened: a caller that forgets a Sync must fail on memfs.
//
// Invariants: offsets and lengths of a Direct file are multiples of
// DirectAlign, as is the memory; a failed Sync is never retried here, because
// Linux marks the pages clean and the next one succeeds without them.
//
// Errors are those of the operating system (wrapped *fs.PathError; compare
// with errors.Is to fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC,
// syscall.EIO); callers give them kinds.
//
// Why there is no combined write-and-sync: pwritev2 with RWF_DSYNC was
// measured against pwritev and fdatasync, operation by operation in turn, on
// a zero-written file with O_DIRECT on ext4 over virtio. At 8 KiB the median
// was 151 and 154 µs (mean 367 and 343 µs), at 64 KiB 166 and 168 µs (mean
// 427 and 373 µs): the disk's flush is the cost, the saved system call is not
// seen. Two calls let a test cut the power between them.
//
// Goroutines: none. A File's methods may be called from any goroutine at the
// same time.
package vfs
