package segmentd

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// giver finds the segment that a peer asks something of, if it may have it
// (R20); nil if not: then it was answered.
func (c *conn) giver(tag wire.Tag, id *wire.Identity) *hosted {
	return c.admit(tag, id, (*segment.Core).AdmitFetch)
}

// handleLeaves names the leaves that have changed here (R21).
func (c *conn) handleLeaves(h wire.Header, meta []byte) error {
	var m wire.Leaves
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host := c.giver(h.Tag, &m.Identity)
	if host == nil {
		return nil
	}
	cut, marks, err := host.log.Leaves(m.After, m.Block, wire.MaxMarks)
	if err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	out := wire.Marks{Cut: cut}
	for _, k := range marks {
		out.Marks = append(out.Marks, wire.Mark{Block: k.Block, MaxLSN: min(k.MaxLSN, cut)})
	}
	c.send(out.Append(c.head[:0], h.Tag), nil, nil)
	return nil
}

// handleTake gives a part of a leaf (R21, R22). What it reads goes past the
// page cache where it can, and its checksums are verified (B3).
func (c *conn) handleTake(h wire.Header, meta []byte) error {
	var m wire.Take
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host := c.giver(h.Tag, &m.Identity)
	if host == nil {
		return nil
	}
	c.w.Flush() // what was answered before shall not wait
	if err := c.s.giving.wait(c.s.ctx, leafTraffic, block.ByteCount(m.Count)*block.Size, giveFloor(host.log.Extent())); err != nil {
		return err
	}
	buf := slab.Get(int(m.Count) * block.Size)
	res := logstore.ReadResult{Buf: buf.Bytes(), Gentle: c.s.giving.loaded()}
	cut, maxLSN, err := host.log.ReadSettled(m.Block, m.Count, &res)
	if err != nil {
		buf.Release()
		c.refuse(h.Tag, err)
		return nil
	}
	out := wire.Leaf{Cut: cut, MaxLSN: min(maxLSN, cut), Data: wire.Data{Sums: res.Sums}}
	for _, r := range res.Runs {
		out.Runs = append(out.Runs, wire.Run{Count: r.Count, Kind: runKinds[r.Kind]})
	}
	data := res.Data()
	if len(data) == 0 {
		buf.Release()
		buf = nil
	}
	c.s.counters.GivenBytes.Add(uint64(len(data)))
	c.send(out.Append(c.head[:0], h.Tag), data, buf)
	return nil
}

// handleStanding says where segments stand. It promises and admits nothing.
func (c *conn) handleStanding(h wire.Header, meta []byte) error {
	var m wire.Standing
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	out := wire.Standings{Stands: make([]wire.Stand, len(m.Places))}
	for i := range m.Places {
		if host, ok := c.s.host(m.Places[i].Segment); ok {
			out.Stands[i] = host.stand(&m.Places[i])
		}
	}
	c.send(out.Append(c.head[:0], h.Tag), nil, nil)
	return nil
}

// stand is where a segment stands, if it belongs to that place (R1).
func (h *hosted) stand(at *wire.Place) wire.Stand {
	st := h.log.State()
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.mu.core.Meta()
	if m.Volume != at.Volume || m.PG != at.PG || h.mu.core.Unsure() {
		return wire.Stand{}
	}
	return wire.Stand{
		Here: true, Damaged: h.mu.core.Damaged(), Hydrating: st.Hydrating,
		Epoch: h.mu.core.Promised(), Member: m.Member, SCL: st.SCL, Readable: st.Readable,
	}
}

// handleDigest gives stand-ins for the data of leaves (I4).
func (c *conn) handleDigest(h wire.Header, meta []byte) error {
	var m wire.Digest
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host := c.admit(h.Tag, &m.Identity, (*segment.Core).AdmitRead)
	if host == nil {
		return nil
	}
	digests, err := host.log.Digest(m.At, m.Block, m.Leaves)
	if err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	var out wire.Digests
	for _, d := range digests {
		out.Digests = append(out.Digests, wire.LeafDigest(d))
	}
	c.send(out.Append(c.head[:0], h.Tag), nil, nil)
	return nil
}
