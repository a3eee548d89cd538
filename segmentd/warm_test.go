package segmentd

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

// TestHomeIsKeptWarm: where a reader comes back to, what is written is asked into
// memory; where it looked once it is not.
func TestHomeIsKeptWarm(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	var asked atomic.Int64
	d.faults.Add(faultfs.Rule{Ops: faultfs.WillNeed, Pattern: "log-*", Advice: func(_ vfs.Offset, n int) { asked.Add(int64(n)) }})
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2))))
	c.ack()
	m := wire.Read{Identity: ident(1), At: lsn(1, 2), Block: 5, Count: 2}
	c.send(m.Append(nil, wire.TypeRead, 4))
	c.answer()
	c.send(records(1, record(lsn(1, 3), lsn(1, 2), 50, data('b', 4))))
	c.ack()
	m.Home = true
	c.send(m.Append(nil, wire.TypeRead, 4))
	c.answer()
	c.send(records(1, record(lsn(1, 4), lsn(1, 3), 70, data('c', 1))))
	c.ack()
	d.pass("what was written is wanted", 50*time.Millisecond, func() bool { return asked.Load() != 0 })
	if n := asked.Load(); n != block.Size {
		t.Errorf("%d bytes are wanted, not the one block since the reader came to stay", n)
	}
}
