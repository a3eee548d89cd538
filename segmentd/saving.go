package segmentd

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/pull"
)

// saving is what has come from a peer and is on its way to the disk.
type saving struct {
	tickets []*logstore.Ticket
	bufs    []*slab.Buffer // in use until then; one may be nil
	records block.ByteCount
	copied  block.ByteCount
	// then is what the machine is told when it is there; nil: nothing.
	then func() pull.Input
}

// save waits for the disk until nothing more comes, also when the pull is over:
// memory is in use until then.
func (p *puller) save() {
	for sv := range p.unsaved {
		var failed error
		for _, t := range sv.tickets {
			if err := t.Wait(); err != nil && failed == nil {
				failed = err
			}
		}
		for _, b := range sv.bufs {
			release(b)
		}
		switch {
		case failed != nil:
			p.s.room.refused(p.s.clock.Now(), failed)
			p.stop(failed)
		case sv.then != nil:
			p.count(&sv)
			p.send(event{in: sv.then()})
		}
	}
}

// count counts what is on disk.
func (p *puller) count(sv *saving) {
	p.s.counters.CaughtUpBytes.Add(uint64(sv.records))
	p.s.counters.HydratedBytes.Add(uint64(sv.copied))
	if f := p.h.pulling.Load(); f != nil {
		f.records.Add(uint64(sv.records))
		f.copied.Add(uint64(sv.copied))
	}
}

func release(b *slab.Buffer) {
	if b != nil {
		b.Release()
	}
}

func payload(b *slab.Buffer) block.ByteCount { return block.ByteCount(len(content(b))) }
