package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// Write carries records of one segment in chain order (rule R5). RECORDS,
// the answer to FETCH, has the same shape: there Progress is zero.
//
//	 0 64  identity
//	64 24  progress
//	88  2  records    1 to MaxRecords (RECORDS: 0 to MaxRecords)
//	90  .  the records; their payloads follow as the frame's payload
type Write struct {
	Identity
	Progress
	Records []Record
}

// Append adds the frame's header and meta to b. The payloads of the records
// are to be sent right after it, in order. typ is TypeWrite or TypeRecords.
func (m *Write) Append(b []byte, typ Type, tag Tag) []byte {
	var batch Batch
	for i := range m.Records {
		batch.Add(&m.Records[i])
	}
	return batch.Append(b, typ, tag, &m.Identity, &m.Progress)
}

// Batch is a run of records encoded once, to be sent to several segments: the
// frames differ in their identity only.
type Batch struct {
	meta    []byte
	records int
	payload int
}

// Reset empties the batch and keeps its memory.
func (t *Batch) Reset() { t.meta, t.records, t.payload = t.meta[:0], 0, 0 }

// Add encodes a record at the end. The caller keeps to Room.
func (t *Batch) Add(r *Record) {
	t.meta = r.append(t.meta)
	t.records++
	t.payload += len(r.Payload)
}

// Append adds header and meta of a frame with the batch's records to b; their
// payloads are to be sent right after it, in order.
func (t *Batch) Append(b []byte, typ Type, tag Tag, id *Identity, p *Progress) []byte {
	start := len(b)
	b = appendHeader(b, typ, tag)
	b = id.append(b)
	b = p.append(b)
	b = binary.LittleEndian.AppendUint16(b, uint16(t.records))
	b = append(b, t.meta...)
	return finish(b, start, t.payload)
}

// Decode reads the meta part of a frame; the records' payloads point into
// payload. Record slices in m are used again. Error kind: Invalid.
func (m *Write) Decode(meta, payload []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.Progress.decode(&d)
	n := int(d.u16())
	if n > MaxRecords {
		d.fail("%d records in one frame, at most %d are allowed", n, MaxRecords)
	}
	if d.err == nil && n*recordSize > len(d.b) {
		d.fail("%d records announced, %d bytes are left", n, len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	if cap(m.Records) < n {
		m.Records = append(m.Records[:cap(m.Records)], make([]Record, n-cap(m.Records))...)
	}
	m.Records = m.Records[:n]
	for i := range m.Records {
		r := &m.Records[i]
		r.Payload, r.Sums = nil, r.Sums[:0]
		r.decode(&d, &payload)
		if d.err != nil {
			return d.err
		}
	}
	if len(payload) > 0 {
		d.fail("%d bytes of payload belong to no record", len(payload))
	}
	return d.end()
}

// Room reports whether a record of this meta size and payload length fits a
// frame that already holds n records of meta and payload bytes.
func Room(n, meta, payload int, r *Record) bool {
	const fixed = identitySize + 24 + 2
	return n < MaxRecords &&
		fixed+meta+r.MetaSize() <= MaxMeta &&
		payload+len(r.Payload) <= MaxPayload
}

// Mend brings a block whose copy at the segment is damaged (rules B3, S2).
// The segment takes it only if the sum is the one that its index holds.
//
//	 0 64  identity
//	64  4  block
//	68  4  blocks
//	72     sums; the blocks follow as payload
type Mend struct {
	Identity
	Block block.Index
	Count block.Count
	Sums  []block.Sum
}

// Append adds the frame's header and meta to b; Count blocks of payload are
// to be sent right after it.
func (m *Mend) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeMend, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Block))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Count))
	return finish(appendSums(b, m.Sums), start, int(m.Count)*block.Size)
}

// Decode reads the meta part of a frame with payloadLen bytes of payload.
// Error kind: Invalid.
func (m *Mend) Decode(meta []byte, payloadLen int) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.Block = block.Index(d.u32())
	m.Count = block.Count(d.u32())
	if d.err == nil && (m.Count == 0 || m.Count > block.MaxRecordBlocks || int(m.Count)*block.Size != payloadLen ||
		uint64(m.Block)+uint64(m.Count) > 1<<32) {
		d.fail("%d blocks at %d with %d bytes of payload", m.Count, m.Block, payloadLen)
	}
	if d.err == nil {
		m.Sums = d.sums(m.Sums[:0], int(m.Count))
	}
	return d.end()
}
