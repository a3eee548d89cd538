package logstore

import (
	"encoding/json"
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
)

// DamageKind says how damage was found.
type DamageKind uint8

// The kinds of damage.
const (
	DamageBatch      DamageKind = iota + 1 // frames are missing before a later valid one
	DamageTail                             // a file ends before where its successor says that it ended
	DamageFile                             // a file is missing or has no readable header
	DamageHeader                           // one of the two copies of a file's header is unreadable
	DamagePayload                          // a block does not have its checksum
	DamageOrphan                           // records of a segment whose creation was lost
	DamageUnreadable                       // the disk does not give a block
	DamageCheckpoint                       // a checkpoint cannot be read; the log has what was in it
)

var damageNames = [...]string{"unknown", "batch", "tail", "file", "header", "payload", "orphan", "unreadable", "checkpoint"}

func (k DamageKind) String() string {
	if int(k) < len(damageNames) {
		return damageNames[k]
	}
	return "unknown"
}

// Damage is a place in the log whose bytes are not what was written.
type Damage struct {
	Kind   DamageKind
	File   string          // name of the log file
	Offset block.ByteCount // where in the file
	Length block.ByteCount // 0: not known
	// Segment and Block are set for DamagePayload and DamageUnreadable.
	Segment block.SegmentID
	Block   block.Index
	// Expected and Found are the checksums, for DamagePayload.
	Expected, Found block.Sum
}

func (d Damage) String() string {
	s := fmt.Sprintf("%v damage in %s at offset %d", d.Kind, d.File, uint64(d.Offset))
	if d.Length > 0 {
		s += fmt.Sprintf(", %d bytes", uint64(d.Length))
	}
	if d.Kind == DamageUnreadable {
		s += fmt.Sprintf(": block %d of segment %v", d.Block, d.Segment)
	}
	if d.Kind == DamagePayload {
		s += fmt.Sprintf(": block %d of segment %v has checksum %08x instead of %08x", d.Block, d.Segment, uint32(d.Found), uint32(d.Expected))
	}
	return s
}

// MarshalJSON gives d the names that the command line prints.
func (d Damage) MarshalJSON() ([]byte, error) {
	var seg string
	if !d.Segment.IsZero() {
		seg = d.Segment.String()
	}
	return json.Marshal(struct {
		Kind     string          `json:"kind"`
		File     string          `json:"file"`
		Offset   block.ByteCount `json:"offset"`
		Length   block.ByteCount `json:"length"`
		Segment  string          `json:"segment,omitempty"`
		Block    block.Index     `json:"block,omitempty"`
		Expected block.Sum       `json:"expected_sum,omitempty"`
		Found    block.Sum       `json:"found_sum,omitempty"`
	}{d.Kind.String(), d.File, d.Offset, d.Length, seg, d.Block, d.Expected, d.Found})
}

// Error makes a Damage the cause of an error, for errors.As.
func (d Damage) Error() string { return d.String() }

// err makes an error of d. Kind: Corrupt.
func (d Damage) err() error {
	return block.Wrap(block.Corrupt, d, "the log is damaged; another copy must be read")
}

// MaxDamages bounds the list that a store keeps; more are counted only.
const MaxDamages = 1024
