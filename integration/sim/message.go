package sim

import (
	"iter"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

// sort tells which message it is.
type sort uint8

const (
	msgJoin sort = iota + 1
	msgWrite
	msgPing
	msgCatchUp
	msgRead
	msgMend   // a block again that was damaged there
	msgAck    // back to the gateway, with Ack or Refuse
	msgData   // the answer to a read
	msgAsk    // from one node to another, for a pull
	msgAnswer // and back
	fromNodes = msgAck
)

// what is the part of a record that is not its place in the chain.
type what struct {
	typ   wire.RecordType
	first uint16
	count uint16
}

// blocks are those that have a version in it.
func (x what) blocks() iter.Seq[int] {
	return func(yield func(int) bool) {
		if x.typ == wire.RecordOpen {
			return
		}
		for b := int(x.first); b < int(x.first)+int(x.count) && yield(b); b++ {
		}
	}
}

// entry is a record as disks and chains have it.
type entry = chain.Entry[what]

// message is what is on its way. Messages lie in one pool and are used again;
// which fields count depends on the sort.
type message struct {
	no       int32 // in the pool
	sort     sort
	conn     *conn  // nil between nodes
	life     uint32 // of the connection, or of the node that asked
	id       wire.Identity
	group    int
	progress wire.Progress
	records  []entry
	ack      wire.Ack
	refuse   *wire.Refuse
	ok       bool

	at    block.LSN // read-point; after which LSN is fetched; the cut of what is given
	upTo  block.LSN
	found block.LSN // the version that a read found, or that is given; the cut of marks
	block int
	slot  uint32 // of the read
	gen   uint32

	from, to *node // between nodes; to is also who gives to whom catches up
	segment  block.SegmentID

	// between nodes, for a pull
	source *source
	ask    pull.EffectKind // 0: where do you stand
	gone   bool            // the log does not reach back
	stand  pull.Stand
	marks  []pull.Mark
}

// newMessage gives an empty message.
func (w *World) newMessage(s sort) *message {
	if k := len(w.spare) - 1; k >= 0 {
		m := w.messages[w.spare[k]]
		w.spare = w.spare[:k]
		*m = message{no: m.no, sort: s, records: m.records[:0]}
		return m
	}
	m := &message{no: int32(len(w.messages)), sort: s}
	w.messages = append(w.messages, m)
	return m
}

func (w *World) freeMessage(m *message) { w.spare = append(w.spare, m.no) }

// takeRecords takes a message's records from it.
func (w *World) takeRecords(m *message) []entry {
	es := m.records
	m.records = nil
	if k := len(w.slices) - 1; k >= 0 {
		m.records, w.slices = w.slices[k], w.slices[:k]
	}
	return es
}

func (w *World) freeRecords(es []entry) {
	if cap(es) > 0 {
		w.slices = append(w.slices, es[:0])
	}
}
