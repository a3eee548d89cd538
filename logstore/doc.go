// Package logstore is one disk of a segment daemon: an append-only log that
// is the data, shared by all segments of the disk.
//
// Job: make records of many segments durable with one flush for all that wait
// (rule R6), keep an index of where each block's versions are, read them with
// their checksums verified (rule B3), tell after a crash what is complete and
// what is damaged (traps T14 to T18), give a peer the records that it lacks
// (rule R20), mend damaged blocks (rule S2).
//
// Non-job: it knows no volume, no quorum and no network; it does not judge
// epochs (its caller refuses what is fenced before it enqueues it, and orders
// promises among the writes by enqueueing them, trap T4). It refuses new
// segments on a disk that fills up, but writes only where nothing else is left
// (trap T29): when a gateway should stop is for others to say.
//
// A write:
//
//	Enqueue ── queue ── Wait: the first to wait leads ── build ── pwritev
//	   order of the log            others wait            header and payload
//	                                                           │
//	wake the waiters ── apply to the indexes ── fdatasync ─────┘
//
// What is where:
//
//	format, fileheader, batch   bytes: encode, decode, no I/O
//	logfile, filer, keeper      one file; making files in advance; idle marks
//	ticket, append              the queue, the leader, a batch
//	segment, index, hot, leaf   one segment's state and where its blocks are
//	read, scan, scanhot, mend   reading
//	hydrate, leaves, digest     taking leaves over from peers, giving them, comparing
//	rot, scrub, lost, stall     damage found and not yet mended; reading all; files
//	                            that are gone; slow flushes
//	ledger, space, victim       what of each file is live; how full; what to clean, how fast
//	cleaner, survey, move       making room: the goroutine, what a file holds, moving it
//	cold, free, brake           the second head; freeing and recycling files;
//	                            holding clients back while that goes on
//	salvage                     cleaning what has lost its batch header
//	pin                         holding versions for backups and snapshots
//	recovery, scanner, walk     where a log ends, and why
//	open, replay, inspect       walking it to open it, or to look at it
//	manifest, ckptstate,        bytes of a checkpoint: what names it, segments,
//	  ckptleaf, ckptcodec         leaves
//	capture, checkpoint,        taking the indexes while the log goes on; writing
//	  checkpointer                them; when
//	ckptopen, ckptload          which checkpoint counts; bringing it back
//	footer, sealer              the headers of a sealed file at its end
//	rebuild, outline, refill,   the index from the log alone, where files were
//	  drafts, rebuildindex        cleaned; offline
//	chain/                      which records are complete
//	hydration/                  what taking leaves over makes of a segment
//
// Invariants:
//
//   - A batch is written only after the one before it is durable. So whatever
//     stands behind a batch proves it, and only the last one can be torn.
//   - A ticket is done when its records are durable and applied, in this
//     order; no reader sees what is not durable (I9).
//   - What a read sees depends on LSNs alone, never on the order of arrival
//     or of the log (rule R19).
//   - Nothing is appended behind a torn batch: the next file's header says
//     where the torn file ended (trap T17).
//   - A file of the log is used again only after a checkpoint behind it was
//     durable, no index pointed to it, then a FREE record was durable, then its
//     last reader left.
//   - Moving changes where a version lies, never which versions there are:
//     compare-and-set from the place that the RELOC names.
//   - Batches lie within pages whose space is taken and whose length is
//     durable (trap T18); so an append needs no new space. What is zero-written
//     ahead lies behind all that was ever given to a batch.
//   - A checkpoint's contents and position are one unit: it is there when a
//     manifest is whole, and all that this names is whole.
//   - Each segment of a checkpoint is at or behind its position, and says
//     where: what a replay brings again is passed over.
//   - Footers and checkpoints are never needed: the batches tell the same, also
//     where log files were cleaned, as long as none is damaged.
//   - No change at or below its segment's floor is logged.
//   - A segment that takes over leaves (rule R21) is not read before all are in;
//     its SCL moves at once, then.
//   - A write or flush that failed ends the log (rule S3).
//   - A segment's SCL, floor and promise never go back while it is not
//     damaged. Damaged means: the log lost a part, and nothing behind that
//     part proves that no higher record or promise was in it.
//
// Goroutines: six for each store, from Open to Close: keeper writes a SYNCMARK
// when the log falls idle, filler zero-writes ahead, checkpointer writes
// checkpoints, sealer footers, cleaner owns the cold head and gives space back,
// warmer has memory take in what was appended where reads come.
// The cleaner has its reads done by up to three more, which end with the file
// that it empties. Close has one that joins all others, which is left behind if
// the disk hangs for longer than DeadFlush, until it answers. Appends run on the goroutines that wait for them, reads and
// scans on their callers'.
package logstore
