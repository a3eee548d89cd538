package segmentd

import (
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// handleWrite takes records: admit, enqueue, owe an ack.
func (c *conn) handleWrite(h wire.Header, meta []byte) error {
	f := c.round.newFrame(h.PayloadLen)
	f.tag = h.Tag
	var payload []byte
	if f.payload != nil {
		payload = f.payload.Bytes()
		if err := c.r.Payload(payload); err != nil {
			return err
		}
	}
	if err := f.write.Decode(meta, payload); err != nil {
		return err
	}
	w := &f.write
	host, ok := c.s.host(w.Segment)
	if !ok {
		c.notHere(h.Tag, &w.Identity)
		return nil
	}
	if err := c.convert(f); err != nil {
		c.s.counters.CorruptOnArrival.Add(1)
		c.log.Error("records arrived damaged", "segment", w.Segment, "err", err)
		c.refuse(h.Tag, err)
		return nil
	}
	f.host = host
	host.mu.Lock()
	v := host.mu.core.Admit(&w.Identity)
	if v.Refuse == nil {
		f.ticket = c.s.enqueueLocked(host, ops(host, v, f.recs))
	}
	host.mu.Unlock()
	if v.Refuse != nil {
		c.refuseWith(h.Tag, v.Refuse)
		return nil
	}
	c.round.owe(pendingAck{host, h.Tag, w.Epoch, w.Progress})
	return nil
}

// convert makes log records of the frame's, after their payload was verified
// (B3).
func (c *conn) convert(f *frame) error {
	f.recs = f.recs[:0]
	for i := range f.write.Records {
		r := &f.write.Records[i]
		if err := r.Verify(); err != nil {
			return block.Wrap(block.Corrupt, err, "record %v", r.LSN)
		}
		f.recs = append(f.recs, logRecord(r))
	}
	return nil
}

var recordTypes = [...]logstore.RecordType{
	wire.RecordWrite: logstore.TypeWrite,
	wire.RecordZero:  logstore.TypeZero,
	wire.RecordTrim:  logstore.TypeTrim,
	wire.RecordOpen:  logstore.TypeEpochOpen,
}

func logRecord(r *wire.Record) logstore.Record {
	return logstore.Record{
		Type: recordTypes[r.Type], LSN: r.LSN, Prev: r.Prev,
		Block: r.Block, Count: r.Count, Sums: r.Sums, Payload: r.Payload,
	}
}

// ops are the steps of one message in the log, in their order: what is
// promised comes before what is done under it (R2).
func ops(h *hosted, v segment.Verdict, recs []logstore.Record) []logstore.Op {
	steps := make([]logstore.Op, 0, 3)
	if v.Promise != 0 {
		steps = append(steps, logstore.Op{Segment: h.log, Promise: v.Promise})
	}
	if v.Meta != nil {
		steps = append(steps, logstore.Op{Segment: h.log, Config: v.Meta.Encode()})
	}
	if len(recs) > 0 {
		steps = append(steps, logstore.Op{Segment: h.log, Records: recs})
	}
	return steps
}

// handleJoin fences (protocol §2.5 step 2): the promise takes its place in the
// log behind all that was admitted before, and the answer comes after it.
func (c *conn) handleJoin(h wire.Header, meta []byte) error {
	var m wire.Join
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host, ok := c.s.host(m.Segment)
	if !ok {
		c.bear(h.Tag, &m)
		return nil
	}
	c.admitPlain(c.round, host, h.Tag, &m.Identity, m.Progress)
	return nil
}

// handlePing answers where the segment stands.
func (c *conn) handlePing(h wire.Header, meta []byte) error {
	var m wire.Ping
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host, ok := c.s.host(m.Segment)
	if !ok {
		c.notHere(h.Tag, &m.Identity)
		return nil
	}
	c.admitPlain(c.round, host, h.Tag, &m.Identity, m.Progress)
	return nil
}

// admitPlain admits a message without records; r answers it, when the promise
// that it relies on is durable, whoever made it.
func (c *conn) admitPlain(r *round, host *hosted, tag wire.Tag, id *wire.Identity, p wire.Progress) {
	host.mu.Lock()
	v := host.mu.core.AdmitBare(id, host.log.State().Promised)
	if v.Refuse == nil {
		if steps := ops(host, v, nil); len(steps) > 0 {
			f := r.newFrame(0)
			f.tag, f.host, f.ticket = tag, host, c.s.enqueueLocked(host, steps)
		}
	}
	host.mu.Unlock()
	if v.Refuse != nil {
		c.noteRefusal(v.Refuse)
		r.send(v.Refuse.Append(r.head[:0], tag))
		return
	}
	r.owe(pendingAck{host, tag, id.Epoch, p})
}

// handleMend writes a block again that was damaged here (S2).
func (c *conn) handleMend(h wire.Header, meta []byte) error {
	f := c.round.newFrame(h.PayloadLen)
	var m wire.Mend
	if err := m.Decode(meta, h.PayloadLen); err != nil {
		return err
	}
	payload := f.payload.Bytes()
	if err := c.r.Payload(payload); err != nil {
		return err
	}
	host := c.admit(h.Tag, &m.Identity, (*segment.Core).AdmitJoined)
	if host == nil {
		return nil
	}
	if err := wire.VerifyBlocks(payload, m.Sums); err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	for i := range m.Count {
		err := host.log.Mend(m.Block+block.Index(i), payload[int(i)*block.Size:(int(i)+1)*block.Size])
		// Written again meanwhile, or given back: nothing is left to mend.
		if err != nil && !errors.Is(err, block.Mismatch) && !errors.Is(err, block.NotFound) {
			c.refuse(h.Tag, err)
			return nil
		}
		if err == nil {
			c.s.counters.Mended.Add(1)
			c.log.Info("damaged block mended", "segment", m.Segment, "block", m.Block+block.Index(i))
		}
	}
	c.send(host.appendAnswer(c.head[:0], h.Tag, m.Epoch, 0), nil, nil)
	return nil
}

// decodePlain decodes a message that has no payload.
func decodePlain(h wire.Header, meta []byte, decode func([]byte) error) error {
	if h.PayloadLen != 0 {
		return block.Errorf(block.Invalid, "%v frame with %d bytes of payload", h.Type, h.PayloadLen)
	}
	return decode(meta)
}
