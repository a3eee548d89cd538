package block

import "fmt"

// VolumeEpoch counts the openings of a volume by a writer; it goes up by one,
// through Raft, each time. It has 24 bits: one takeover a minute for 32 years.
type VolumeEpoch uint32

// MembershipEpoch counts the changes of a protection group's set of segments.
type MembershipEpoch uint32

// LSN orders all records of a volume: volume epoch (24 bits, high) and
// sequence (40 bits, low). No LSN is used twice; the order of LSNs is first
// the order of epochs, so a new writer never has to search for the old end.
// Zero means "before the first record".
type LSN uint64

// Seq is the low part of an LSN: the number of a record within its epoch.
type Seq uint64

const (
	seqBits = 40

	// MaxVolumeEpoch is the last epoch that fits an LSN.
	MaxVolumeEpoch VolumeEpoch = 1<<24 - 1
	// MaxSeq is the last sequence that fits an LSN.
	MaxSeq Seq = 1<<seqBits - 1
	// ReopenSeq is where a writer opens its volume anew, in good time
	// before sequences run out (protocol §2.5: 127 days at 100 k a second
	// fill 2^40; half of it leaves room).
	ReopenSeq Seq = 1 << (seqBits - 1)
)

// MakeLSN joins an epoch and a sequence. Both must be within their bounds.
func MakeLSN(e VolumeEpoch, s Seq) LSN { return LSN(e)<<seqBits | LSN(s&MaxSeq) }

// Epoch is the epoch of the writer that gave out l.
func (l LSN) Epoch() VolumeEpoch { return VolumeEpoch(l >> seqBits) }

// Seq is the number of l within its epoch.
func (l LSN) Seq() Seq { return Seq(l) & MaxSeq }

// String prints "epoch.sequence".
func (l LSN) String() string { return fmt.Sprintf("%d.%d", l.Epoch(), l.Seq()) }
