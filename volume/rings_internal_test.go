package volume

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// laggingGroup is a group of which five members have acknowledged n records
// of 256 KiB, which lie in one buffer, and the sixth none.
func laggingGroup(t *testing.T, v *Volume, fake *clock.Fake, n int, buf *slab.Buffer) *scripted {
	t.Helper()
	s := scriptedIn(t, v, fake)
	s.input(pg.Input{Kind: pg.Down, Member: 5})
	for range n {
		var b batch
		s.issue(&b, v.newWriteOp(&outcome{}, 0), change{typ: wire.RecordWrite, count: block.MaxRecordBlocks, data: buf.Bytes(), buf: buf})
		s.step(&b, pg.Input{Kind: pg.Collect})
		b.run()
		for i := range quorum.Member(5) {
			s.ack(i)
		}
	}
	if m := s.mu.machine; m.Phase() != pg.Open || m.Committed() != m.Tail() {
		t.Fatalf("group is %v, committed %v of %v", m.Phase(), m.Committed(), m.Tail())
	}
	return s
}

// While a daemon is down every group that is written to keeps records for it;
// all of them together keep no more than ringsBytes (R5, B6). Groups that keep
// nothing are not looked at.
func TestB6AllRingsTogetherAreBounded(t *testing.T) {
	fake := clock.NewFake(time.Unix(1000, 0))
	v := scriptedVolume(t, fake, time.Hour)
	buf := slab.Get(int(block.MaxRecordBytes))
	defer buf.Release()
	buf.Bytes()[0] = 1
	const records = 100 // 25 MiB in each
	groups := 2 * int(ringsBytes/(records*block.MaxRecordBytes))
	all := make([]*scripted, groups)
	for i := range all {
		all[i] = laggingGroup(t, v, fake, records, buf)
	}
	idle := scriptedIn(t, v, fake)
	table := make([]atomic.Pointer[group], groups+1)
	for i := range all {
		table[i].Store(all[i].group)
	}
	table[groups].Store(idle.group)
	v.groups.Store(&table)
	held := func() (sum block.ByteCount) {
		v.eachGroup(func(g *group) { sum += g.mu.machine.RingBytes() })
		return sum
	}
	if before := held(); before <= ringsBytes || v.keeping.Load() != int64(groups) {
		t.Fatalf("%v in the rings of %d groups before: too little to show anything", before, v.keeping.Load())
	}
	var b batch
	idle.mu.Lock() // it would be waited for
	v.shareRings(&b)
	idle.mu.Unlock()
	b.run()
	if after := held(); after > ringsBytes || after < ringsBytes/2 {
		t.Errorf("%v in the rings, want up to %v", after, ringsBytes)
	}
	for _, s := range all { // the sixth comes back: nothing is kept any more
		s.input(pg.Input{Kind: pg.Up, Member: 5})
		s.ack(5)
	}
	if n := v.keeping.Load(); n != 0 || held() != 0 {
		t.Errorf("%d groups keep %v", n, held())
	}
}
