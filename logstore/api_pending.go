package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Store is one disk's log and the segments on it.
type Store struct{}

// Segment is one segment of a Store.
type Segment struct{}

// Ticket is a place in the log's order. Wait must be called on each.
type Ticket struct{}

type piece struct{}

var errPending = block.Errorf(block.Unavailable, "log store is not assembled yet")

// Open opens the log in dir, or makes one if dir is empty. It locks dir.
// Error kinds: Mismatch (another disk's log), Version (a newer format),
// Unavailable (locked, or the disk failed), NoSpace, Invalid (cfg).
func Open(fs vfs.FS, dir string, disk block.DiskID, cfg Config) (*Store, error) {
	return nil, errPending
}

// Close writes a last SYNCMARK, waits for reads and appends in progress and
// gives all files back. Tickets that wait get kind Closed.
func (s *Store) Close() error { return errPending }

// Failed is nil, or why the log has ended (rule S3); kind Unavailable.
func (s *Store) Failed() error { return errPending }

// Damage lists what was found damaged since Open, oldest first, at most
// MaxDamages of it.
func (s *Store) Damage() []Damage { return nil }

// Stats are counters since Open.
type Stats struct {
	Batches, Records uint64
	Bytes            block.ByteCount // appended, headers included
	Files            int             // log files
	Spares           int             // zero-written files that wait for their turn
	Size             block.ByteCount // bytes of all files
	Damages          int
}

// Stats are counters since Open.
func (s *Store) Stats() Stats { return Stats{} }

// CreateSegment makes an empty segment that has promised that epoch (rule
// R24: it is born fenced). It is durable on return. Error kinds: Exists,
// Invalid, NoSpace, Unavailable.
func (s *Store) CreateSegment(id block.SegmentID, promise block.VolumeEpoch, config []byte) (*Segment, error) {
	return nil, errPending
}

// Segment finds a segment by its id.
func (s *Store) Segment(id block.SegmentID) (*Segment, bool) { return nil, false }

// Segments lists all segments in the order of their creation.
func (s *Store) Segments() []*Segment { return nil }

// DropSegment forgets a segment, durably. Error kinds: NotFound, NoSpace,
// Unavailable.
func (s *Store) DropSegment(id block.SegmentID) error { return errPending }

// Enqueue fixes the place of ops in the log: after all that was enqueued
// before for the same segments. It does not block. Records, sums and payloads
// must stay unchanged until Wait has returned. A malformed op fails the whole
// ticket, with kind Invalid, before any effect.
func (s *Store) Enqueue(ops []Op) *Ticket { return nil }

// Enqueue is Store.Enqueue for records of one segment.
func (g *Segment) Enqueue(recs []Record) *Ticket { return nil }

// EnqueuePromise is Store.Enqueue for one promise.
func (g *Segment) EnqueuePromise(e block.VolumeEpoch) *Ticket { return nil }

// EnqueueConfig is Store.Enqueue for one configuration.
func (g *Segment) EnqueueConfig(config []byte) *Ticket { return nil }

// Wait returns when all of t is durable and can be read. The caller may write
// and flush for others meanwhile. After an error nothing is known of t: it
// may be there after the next Open, or a part of it. Error kinds: Invalid,
// NoSpace (the store goes on), ReadOnly, Unavailable (the log has ended),
// Closed.
func (t *Ticket) Wait() error { return errPending }

// ID is the segment's id.
func (g *Segment) ID() block.SegmentID { return block.SegmentID{} }

// SCL is the highest complete LSN, all of it durable. It is cheap.
func (g *Segment) SCL() block.LSN { return 0 }

// State is what the segment knows of itself.
func (g *Segment) State() State { return State{} }

// SetFloor tells that no read below lsn will come (PGMRPL, rule R13) and that
// lsn will never be annulled. What is older than the newest version at or
// below it is forgotten. A floor at or below the present one changes nothing.
// It becomes durable lazily, with later batches. Error kind: Invalid, when
// lsn is not on the complete chain.
func (g *Segment) SetFloor(lsn block.LSN) error { return errPending }

// ReadAt reads [first, first+n) as of LSN at into dst; each block's checksum
// is verified (rule B3). It never waits for a flush. Error kinds: Behind
// (at > SCL), Stale (at < floor), Invalid, Corrupt (says where; counted),
// Unavailable, Closed.
func (g *Segment) ReadAt(at block.LSN, first block.Index, n block.Count, dst *ReadResult) error {
	return errPending
}

// Map tells what ReadAt would find, without reading, appended to runs. Error
// kinds: those of ReadAt but Corrupt.
func (g *Segment) Map(at block.LSN, first block.Index, n block.Count, runs []Run) ([]Run, error) {
	return runs, errPending
}

// Scan calls fn for the records of the complete chain in (after, upTo], in
// order of LSN, until about maxBytes of payload were given, at least one
// record if there is one (rule R20). The record and its payload are valid
// during the call only; sums were verified. It stops with fn's error.
//
// after need not be on the chain: the first record's Prev tells whether the
// receiver can link it; if not, it must ask again from its own floor, which
// is on every chain. Error kinds: Behind (upTo > SCL), NotFound (a part is not
// in the log any more), Corrupt, Unavailable, Closed.
func (g *Segment) Scan(after, upTo block.LSN, maxBytes block.ByteCount, fn func(Record) error) error {
	return errPending
}

// Mend writes a block again whose bytes here are damaged; payload comes from
// another copy and must have the checksum that this one's index holds (rule
// S2). Error kinds: Mismatch (it has not), NotFound (the block holds no data
// as of the SCL), and those of Wait.
func (g *Segment) Mend(b block.Index, payload []byte) error { return errPending }

// ClearDamage records that the segment is known to be complete again. Error
// kinds: those of Wait.
func (g *Segment) ClearDamage() error { return errPending }
