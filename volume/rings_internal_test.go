package volume

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// laggingGroup is a group of which five members have acknowledged n records
// of 256 KiB, which lie in one buffer, and the sixth none.
func laggingGroup(t *testing.T, v *Volume, n int, buf *slab.Buffer) *group {
	t.Helper()
	g := &group{v: v, links: make([]*link, 6), tags: make([]wire.Tag, 6)}
	g.quorum = quorum.Config{
		Epoch: 1, Write: 4, Read: 3, Segments: make([]block.SegmentID, 6), Sets: [][]quorum.Member{{0, 1, 2, 3, 4, 5}},
	}
	for i := range g.links {
		g.links[i] = &link{pool: v.cfg.Pool, log: v.log}
		g.links[i].reads.init(g.links[i])
	}
	m := pg.New(pg.Config{Epoch: 1, Quorum: &g.quorum, Clean: true, Hold: time.Hour, Next: v.nextLSN})
	g.mu.machine = m
	var stamp [6]wire.Stamp
	step := func(in pg.Input) {
		for _, s := range m.Step(v.now(), in).Sends {
			stamp[s.Member] = s.Progress.Stamp
		}
	}
	ack := func(i quorum.Member) {
		step(pg.Input{Kind: pg.Acked, Member: i, Ack: &wire.Ack{Identity: wire.Identity{Epoch: 1}, SCL: m.Tail(), Stamp: stamp[i]}})
	}
	step(pg.Input{Kind: pg.Start})
	for i := range quorum.Member(6) {
		step(pg.Input{Kind: pg.Up, Member: i})
		ack(i)
	}
	for i := range quorum.Member(6) {
		ack(i)
	}
	step(pg.Input{Kind: pg.Down, Member: 5})
	for range n {
		r := &record{op: &writeOp{v: v}, buf: buf.Retain()}
		r.op.left.Store(2) // nobody is told
		r.Owner, r.Type, r.Count = r, wire.RecordWrite, block.MaxRecordBlocks
		r.Payload = buf.Bytes()
		step(pg.Input{Kind: pg.Issue, Record: &r.Record})
		step(pg.Input{Kind: pg.Collect})
		for i := range quorum.Member(5) {
			ack(i)
		}
	}
	if m.Phase() != pg.Open || m.Committed() != m.Tail() {
		t.Fatalf("group is %v, committed %v of %v", m.Phase(), m.Committed(), m.Tail())
	}
	return g
}

// While a daemon is down every group that is written to keeps records for it;
// all of them together keep no more than ringsBytes (R5, B6).
func TestB6AllRingsTogetherAreBounded(t *testing.T) {
	pool := NewPool(PoolConfig{Name: "test", Clock: clock.NewFake(time.Time{}), Logger: slog.New(slog.DiscardHandler)})
	defer pool.Close()
	v := &Volume{
		cfg: Config{Pool: pool, Hold: time.Hour}, info: metadata.Volume{Name: "v"}, epoch: 1, log: slog.New(slog.DiscardHandler),
	}
	buf := slab.Get(int(block.MaxRecordBytes))
	defer buf.Release()
	const records = 100 // 25 MiB in each
	groups := 2 * int(ringsBytes/(records*block.MaxRecordBytes))
	all := make([]*group, groups)
	for i := range all {
		all[i] = laggingGroup(t, v, records, buf)
	}
	table := make([]atomic.Pointer[group], groups)
	for i := range all {
		table[i].Store(all[i])
	}
	v.groups.Store(&table)
	held := func() (sum block.ByteCount) {
		v.eachGroup(func(g *group) { sum += g.mu.machine.RingBytes() })
		return sum
	}
	if before := held(); before <= ringsBytes {
		t.Fatalf("%v in the rings before: too little to show anything", before)
	}
	var b batch
	v.shareRings(&b)
	b.run()
	if after := held(); after > ringsBytes || after < ringsBytes/2 {
		t.Errorf("%v in the rings, want up to %v", after, ringsBytes)
	}
}
