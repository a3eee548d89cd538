package segmentd

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/segment"
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
	return c.admit(h.Tag, &m.Identity, (*segment.Core).AdmitRead), nil
}

// handleRead serves blocks as of a read-point (R11). What memory has is sent at
// once; what the disk must be asked for is read here if nothing else is to be
// done meanwhile, or by a goroutine of its own.
func (c *conn) handleRead(h wire.Header, meta []byte) error {
	var m wire.Read
	host, err := c.admitRead(h, meta, &m)
	if host == nil {
		return err
	}
	o := newReadOp(c, h.Tag, host, m.Count)
	o.res.Held = m.Mending
	c.s.counters.Reads.Add(1)
	if m.Home {
		host.log.KeepWarm()
	}
	done, err := host.log.TryReadAt(m.At, m.Block, m.Count, &o.res)
	switch {
	case done || err != nil:
		o.answer(err)
	case !c.r.Buffered() && !c.s.diskReads.slow() || !c.s.diskReads.enter(m.Count):
		o.finish()
	default:
		c.beside.Add(1)
		go func() {
			defer c.beside.Done()
			defer c.s.diskReads.leave(m.Count)
			o.finish()
			c.w.Flush()
		}()
	}
	return nil
}

// handleMap tells what is allocated, without reading it.
func (c *conn) handleMap(h wire.Header, meta []byte) error {
	var m wire.Read
	host, err := c.admitRead(h, meta, &m)
	if host == nil {
		return err
	}
	o := newReadOp(c, h.Tag, host, 0)
	defer o.recycle()
	runs, err := host.log.Map(m.At, m.Block, m.Count, o.res.Runs[:0])
	if err != nil {
		c.refuse(h.Tag, err)
		return nil
	}
	o.res.Runs = runs
	o.setData(runs[:min(len(runs), wire.MaxMapRuns)], nil)
	c.send(o.data.Append(c.head[:0], wire.TypeRuns, h.Tag), nil, nil)
	return nil
}
