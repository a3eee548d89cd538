package segmentd

import (
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

var wireTypes = map[logstore.RecordType]wire.RecordType{
	logstore.TypeWrite:     wire.RecordWrite,
	logstore.TypeZero:      wire.RecordZero,
	logstore.TypeTrim:      wire.RecordTrim,
	logstore.TypeEpochOpen: wire.RecordOpen,
}

// errPageFull ends a scan when the frame is full.
var errPageFull = errors.New("page full")

// handleFetch gives a peer records of our complete chain (R20), one frame of
// them; it asks again for more.
func (c *conn) handleFetch(h wire.Header, meta []byte) error {
	var m wire.Fetch
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host := c.giver(h.Tag, &m.Identity)
	if host == nil {
		return nil
	}
	c.w.Flush() // what was answered before shall not wait
	if err := c.s.giving.wait(c.s.ctx, recordTraffic, pageBytes, giveLeast); err != nil {
		return err
	}
	page, err := readPage(host.log, m.After, m.UpTo)
	if err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	c.s.counters.GivenBytes.Add(uint64(page.used))
	out := wire.Write{Identity: m.Identity, Records: page.recs}
	c.send(out.Append(c.head[:0], wire.TypeRecords, h.Tag), page.buf.Bytes()[:page.used], page.buf)
	return nil
}

// page is a frame's worth of records.
type page struct {
	recs []wire.Record
	buf  *slab.Buffer
	used int
}

// readPage copies records in (after, upTo] out of the log, as many as fit a
// frame.
func readPage(g *logstore.Segment, after, upTo block.LSN) (page, error) {
	p := page{buf: slab.Get(wire.MaxPayload)}
	meta := 0
	err := g.Scan(after, upTo, wire.MaxPayload, func(r logstore.Record) error {
		out := wire.Record{
			Type: wireTypes[r.Type], LSN: r.LSN, Prev: r.Prev, Block: r.Block, Count: r.Count,
			Sums: append([]block.Sum(nil), r.Sums...), Payload: r.Payload,
		}
		if !wire.Room(len(p.recs), meta, p.used, &out) {
			return errPageFull
		}
		meta += out.MetaSize()
		n := copy(p.buf.Bytes()[p.used:], r.Payload)
		out.Payload = p.buf.Bytes()[p.used : p.used+n]
		p.used += n
		p.recs = append(p.recs, out)
		return nil
	})
	if err != nil && !errors.Is(err, errPageFull) {
		p.buf.Release()
		return page{}, err
	}
	return p, nil
}
