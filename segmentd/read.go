package segmentd

import (
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

var runKinds = [...]wire.RunKind{
	logstore.RunHole: wire.RunHole,
	logstore.RunZero: wire.RunZero,
	logstore.RunData: wire.RunData,
}

// admitRead finds the segment that a READ or MAP is for.
func (c *conn) admitRead(h wire.Header, meta []byte, m *wire.Read) (*hosted, error) {
	if h.PayloadLen != 0 {
		return nil, block.Errorf(block.Invalid, "%v frame with %d bytes of payload", h.Type, h.PayloadLen)
	}
	if err := m.Decode(meta, h.Type); err != nil {
		return nil, err
	}
	host, ok := c.s.host(m.Segment)
	if !ok {
		c.notHere(h.Tag, &m.Identity)
		return nil, nil
	}
	host.mu.Lock()
	refuse := host.mu.core.AdmitRead(&m.Identity)
	host.mu.Unlock()
	if refuse != nil {
		c.refuseWith(h.Tag, refuse)
		return nil, nil
	}
	return host, nil
}

// handleRead serves blocks as of a read-point (R11). Checksums were verified
// on the way from the disk, and go with the bytes.
func (c *conn) handleRead(h wire.Header, meta []byte) error {
	var m wire.Read
	host, err := c.admitRead(h, meta, &m)
	if host == nil {
		return err
	}
	buf := slab.Get(int(m.Count) * block.Size)
	c.read.Buf = buf.Bytes()
	err = host.log.ReadAt(m.At, m.Block, m.Count, &c.read)
	c.s.counters.Reads.Add(1)
	if err != nil {
		buf.Release()
		if errors.Is(err, block.Corrupt) {
			c.log.Error("damaged block found", "segment", m.Segment, "err", err)
		}
		c.refuse(h.Tag, err)
		return nil
	}
	c.data.Sums = append(c.data.Sums[:0], c.read.Sums...)
	c.setRuns(c.read.Runs)
	payload := c.read.Data()
	if len(payload) == 0 {
		buf.Release()
		c.send(c.data.Append(c.head[:0], wire.TypeData, h.Tag), nil, nil)
		return nil
	}
	c.send(c.data.Append(c.head[:0], wire.TypeData, h.Tag), payload, buf)
	return nil
}

// handleMap tells what is allocated, without reading it.
func (c *conn) handleMap(h wire.Header, meta []byte) error {
	var m wire.Read
	host, err := c.admitRead(h, meta, &m)
	if host == nil {
		return err
	}
	runs, err := host.log.Map(m.At, m.Block, m.Count, c.read.Runs[:0])
	if err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	c.read.Runs = runs
	c.data.Sums = c.data.Sums[:0]
	c.setRuns(runs[:min(len(runs), wire.MaxMapRuns)])
	c.send(c.data.Append(c.head[:0], wire.TypeRuns, h.Tag), nil, nil)
	return nil
}

// setRuns translates runs, joining neighbours of one kind.
func (c *conn) setRuns(runs []logstore.Run) {
	out := c.data.Runs[:0]
	for _, r := range runs {
		kind := runKinds[r.Kind]
		if k := len(out) - 1; k >= 0 && out[k].Kind == kind {
			out[k].Count += r.Count
			continue
		}
		out = append(out, wire.Run{Count: r.Count, Kind: kind})
	}
	c.data.Runs = out
}
