package segmentd

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

// TestB6PeerThatStopsHalfWayIsCut: in a header or in a payload, after some time;
// one that merely says nothing is not.
func TestB6PeerThatStopsHalfWayIsCut(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	idle, header, payload := d.opened(), d.dial(), d.dial()
	frame := records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 30)))
	header.send(frame[:wire.HeaderSize/2])
	payload.send(frame[:len(frame)/2])
	// Half of the time in steps, so that it is seen at its beginning; then the
	// rest of a frame would still be taken.
	slow := d.dial()
	whole := ping(1, wire.Progress{})
	slow.send(whole[:10])
	for range 4 {
		d.clock.Advance(frameTimeout / 8)
	}
	slow.send(whole[10:])
	slow.ack()
	eventually(t, "both cut", func() bool { d.later(time.Second); return d.Conns() == 2 })
	header.ended()
	payload.ended()
	idle.send(ping(1, wire.Progress{}))
	idle.ack()
}
