package segmentd

import (
	"sync/atomic"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

var mineRef = SegmentRef{Volume: volume, Segment: mine}

// gone checks that the segment is neither served nor in the log.
func (d *daemon) gone() {
	d.t.Helper()
	if _, ok := d.host(mine); ok {
		d.t.Error("the segment is served")
	}
	if _, ok := d.Store().Segment(mine); ok {
		d.t.Error("the segment is in the log")
	}
}

// askHeld makes the metadata service not answer whether a segment is placed until
// answer is called; asked counts the questions.
func (d *daemon) askHeld() (asked *atomic.Int32, answer func()) {
	asked, gate := new(atomic.Int32), make(chan struct{})
	d.reg.set(func() {
		d.reg.placed = func(SegmentRef, block.VolumeEpoch) error {
			asked.Add(1)
			<-gate
			return nil
		}
	})
	return asked, func() { close(gate) }
}

// TestR28DroppedSegmentIsNotMadeAgain: a writer that is cut off joins a segment
// that was dropped since. It would come back empty under its old id.
func TestR28DroppedSegmentIsNotMadeAgain(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.dial()
	c.send(join(1))
	c.ack()
	d.drop([]SegmentRef{mineRef})
	// The metadata service has not been told: it still has it in the group.
	c.send(join(1))
	c.refused(block.NotFound)
	d.gone()
	d.reported(1)
	var said SegmentRef
	d.reg.set(func() {
		d.reg.placed = func(ref SegmentRef, _ block.VolumeEpoch) error {
			said = ref
			return block.Errorf(block.NotFound, "no such volume")
		}
	})
	c.send(join(1))
	c.refused(block.NotFound)
	d.gone()
	if said != mineRef {
		t.Errorf("asked about %v", said)
	}
	after := d.afterCrash()
	after.reg.set(func() { after.reg.placed = d.reg.placed })
	c = after.dial()
	c.send(join(1))
	c.refused(block.NotFound)
	after.gone()
}

// TestR28DroppedWhileItIsMade: the order to drop a segment overtakes the
// metadata service's older word that it is to be made.
func TestR28DroppedWhileItIsMade(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	asked, answer := d.askHeld()
	c := d.dial()
	c.send(join(1))
	eventually(t, "the question", func() bool { return asked.Load() == 1 })
	d.drop([]SegmentRef{mineRef})
	answer()
	c.refused(block.NotFound)
	d.gone()
}

// The same when the log is about to have it.
func TestR28DroppedWhileItIsWritten(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.dial()
	release, before := d.stall(), d.faults.Calls(faultfs.Sync)
	c.send(join(1))
	d.flushing(before)
	d.drop([]SegmentRef{mineRef})
	release()
	c.refused(block.NotFound)
	d.gone()
}

// TestR24FencedWriterMakesNoSegment: nobody here has promised anything to the
// successor yet; the metadata service knows it.
func TestR24FencedWriterMakesNoSegment(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	d.reg.set(func() {
		d.reg.placed = func(_ SegmentRef, e block.VolumeEpoch) error {
			if e < 2 {
				return block.Errorf(block.Fenced, "the volume is at epoch 2")
			}
			return nil
		}
	})
	c := d.dial()
	c.send(join(1))
	c.refused(block.Fenced)
	d.gone()
	c.send(join(2))
	if a := c.ack(); a.Epoch != 2 {
		t.Errorf("born with a promise of epoch %d", a.Epoch)
	}
}

// A metadata service that takes its time holds up nobody but the segment that is
// to be made; all who joined it get their answers, in whatever epoch.
func TestBirthHoldsUpNobodyElse(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	other := wire.Join{Identity: ident(1)}
	other.Segment = block.SegmentID{9}
	c := d.dial()
	c.send(other.Append(nil, 7))
	c.ack()
	asked, answer := d.askHeld()
	c.send(join(1))
	second := d.dial()
	second.send(join(2))
	eventually(t, "the question", func() bool { return asked.Load() == 1 })
	p := wire.Ping{Identity: other.Identity}
	c.send(p.Append(nil, 7))
	c.ack()
	answer()
	// The second may come first: then the first is fenced.
	h, meta := c.next()
	if h.Type == wire.TypeRefuse {
		var m wire.Refuse
		if err := m.Decode(meta); err != nil || m.Kind != block.Fenced || m.Epoch != 2 {
			t.Errorf("the first who joined: %+v, %v", m, err)
		}
	}
	if a := second.ack(); a.Epoch != 2 {
		t.Errorf("the second who joined: epoch %d", a.Epoch)
	}
}
