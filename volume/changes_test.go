package volume

import (
	"context"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
)

// The metadata service of these tests changes groups as the real one does, but
// for its checks: those are metadata/state's.

func (m *meta) PG(_ context.Context, _ string, e block.VolumeEpoch, i block.PGIndex) (metadata.PGConfig, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e != m.volume.Epoch {
		return metadata.PGConfig{}, block.Errorf(block.Fenced, "epoch %d is over", e)
	}
	return clonePG(*m.pgLocked(i)), nil
}

func (m *meta) pgLocked(i block.PGIndex) *metadata.PGConfig {
	at := slices.IndexFunc(m.pgs, func(p metadata.PGConfig) bool { return p.Index == i })
	return &m.pgs[at]
}

func clonePG(p metadata.PGConfig) metadata.PGConfig {
	p.Segments, p.Sets = slices.Clone(p.Segments), slices.Clone(p.Sets)
	return p
}

// owned finds the group of a writer's call.
func (m *meta) owned(r metadata.ChangeRef) (*metadata.PGConfig, error) {
	p := m.pgLocked(r.PG)
	switch {
	case r.Epoch != m.volume.Epoch:
		return nil, block.Errorf(block.Fenced, "epoch %d is over", r.Epoch)
	case r.Membership != p.Membership || !p.Joint():
		return nil, block.Errorf(block.Stale, "membership epoch %d is over", r.Membership)
	}
	return p, nil
}

func (m *meta) MarkHydrated(_ context.Context, r metadata.ChangeRef) (metadata.PGConfig, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.owned(r)
	if err != nil {
		return metadata.PGConfig{}, err
	}
	m.steps = append(m.steps, "hydrated")
	p.Segments = slices.Clone(p.Segments)
	for _, k := range p.Sets[1] {
		p.Segments[k].Hydrated = true
	}
	return clonePG(*p), nil
}

func (m *meta) FinishChange(_ context.Context, r metadata.ChangeRef) (metadata.PGConfig, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.owned(r)
	if err != nil {
		return metadata.PGConfig{}, err
	}
	m.steps = append(m.steps, "finished")
	m.settleLocked(p, 1)
	return clonePG(*p), nil
}

// settleLocked leaves one set in force.
func (m *meta) settleLocked(p *metadata.PGConfig, set int) {
	p.Membership++
	if p.Reducing() || p.Restoring() {
		p.Segments, p.Sets = slices.Clone(p.Segments), p.Sets[set:set+1]
		for k := range p.Segments {
			p.Segments[k].Hydrated = p.Segments[k].Hydrated && !p.Out(k)
		}
		return
	}
	var stay []metadata.Segment
	for _, k := range p.Sets[set] {
		stay = append(stay, p.Segments[k])
	}
	p.Segments, p.Sets = stay, [][]int{{0, 1, 2, 3, 4, 5}}
}

// replace begins to replace the segment on node out by one on node in.
func (m *meta) replace(i block.PGIndex, out, in *node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pgLocked(i)
	p.Segments, p.Membership = slices.Clone(p.Segments), p.Membership+1
	old := []int{0, 1, 2, 3, 4, 5}
	next := slices.Clone(old)
	next[slices.IndexFunc(p.Segments, func(s metadata.Segment) bool { return s.Node == out.name })] = 6
	p.Sets = [][]int{old, next}
	m.made++
	p.Segments = append(p.Segments, metadata.Segment{
		ID: segmentID(i, 100+m.made), Born: m.volume.Epoch,
		Node: in.name, Zone: "z", Address: in.relay.addr(), Disk: in.daemon.Identity().Disk,
	})
}

// cancel goes back to the old set.
func (m *meta) cancel(i block.PGIndex) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settleLocked(m.pgLocked(i), 0)
}

// changingLocked is what a lease renewal tells.
func (m *meta) changingLocked(r metadata.LeaseReport) (out []metadata.PGMembership) {
	for _, p := range m.pgs {
		known := slices.ContainsFunc(r.Changing, func(k metadata.PGMembership) bool { return k.PG == p.Index && k.Membership != p.Membership })
		if p.Joint() || known {
			out = append(out, metadata.PGMembership{PG: p.Index, Membership: p.Membership})
		}
	}
	return out
}

// addNode starts a seventh node, that no group is on.
func (s *system) addNode(name block.NodeID) *node {
	n := &node{t: s.t, name: name, disk: memfs.New(0)}
	n.start()
	s.t.Cleanup(func() {
		n.daemon.Close()
		n.relay.close()
	})
	return n
}

// stepsAre waits until the metadata service was told these steps.
func (m *meta) stepsAre(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "the change to take its steps", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.Equal(m.steps, want)
	})
}

// newest is the segment on a node that was made last for group 0, and what it
// has in its first n blocks.
func (n *node) newest(t *testing.T, made int, blocks block.Count) []byte {
	t.Helper()
	g, ok := n.daemon.Store().Segment(segmentID(0, 100+made))
	if !ok {
		t.Fatalf("node %s has no new segment", n.name)
	}
	r := logstore.ReadResult{Buf: make([]byte, int(blocks)*block.Size)}
	if err := g.ReadAt(g.SCL(), 0, blocks, &r); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(r.Data())
}

// load writes to group 0, which begins with image, block after block without a
// pause until stopped; then image is what is there.
func (g *gateway) load(image []byte) (stop func() []byte) {
	blocks := len(image) / block.Size
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			at := i % blocks * block.Size
			copy(image[at:], fill(byte(1+i%250), block.Size))
			if err := g.h.startWrite(block.Offset(at), image[at:at+block.Size]).err(g.t); err != nil {
				g.t.Errorf("write at %d: %v", at, err)
				return
			}
		}
	}()
	return func() []byte {
		close(quit)
		<-done
		return image
	}
}

// TestR26SegmentIsReplacedUnderLoad: while a client writes, a segment gives way
// to a new one on another node. What was written before and during is on the
// new one in the end, and nothing is sent to the old one any more.
func TestR26SegmentIsReplacedUnderLoad(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(9, 40*block.Size))
	in := s.addNode("n6")
	stop := g.load(fill(9, 32*block.Size))
	s.meta.replace(0, s.nodes[5], in)
	s.meta.stepsAre(t, "hydrated", "finished")
	image := stop()
	g.wantBytes(0, image)
	x := g.v.group(0)
	eventually(t, "the group to go on with the new set", func() bool { return x.roster.Load().cfg.Membership == 3 })
	r := x.roster.Load()
	if m := r.member(x.v.cfg.Pool.link(Daemon{Node: in.name, Disk: in.daemon.Identity().Disk})); m != 6 || r.links[5] != nil || r.quorum.Joint() {
		t.Fatalf("the new segment is member %d of %v; in place 5 is %v", m, r.quorum, r.links[5])
	}
	left := s.log(0, 5).SCL()
	g.write(0, fill(77, block.Size))
	g.complete(0, 0, 1, 2, 3, 4, 6)
	copy(image, fill(77, block.Size))
	if got := in.newest(t, 1, 32); !slices.Equal(got, image) {
		t.Errorf("block %d of the new copy differs", differ(got, image)/block.Size)
	}
	if now := s.log(0, 5).SCL(); now != left {
		t.Errorf("the segment that left went from %v to %v", left, now)
	}
}

// TestR25TwoOfSixFailWhileOneIsReplaced: the node of the segment that leaves
// and one more are dead all the while: ABCD are both write quorums.
func TestR25TwoOfSixFailWhileOneIsReplaced(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(9, 40*block.Size))
	g.complete(0, all...)
	s.nodes[4].kill()
	s.nodes[5].kill()
	in := s.addNode("n6")
	s.meta.replace(0, s.nodes[5], in)
	stop := g.load(fill(9, 32*block.Size))
	s.meta.stepsAre(t, "hydrated", "finished")
	g.wantBytes(0, stop())
}

// TestR26CancelGoesBack: the new segment's node dies while it hydrates; the
// change is cancelled, and another one succeeds.
func TestR26CancelGoesBack(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(9, 40*block.Size))
	dead, in := s.addNode("n6"), s.addNode("n7")
	dead.kill()
	x := g.v.group(0)
	s.meta.replace(0, s.nodes[5], dead)
	eventually(t, "both sets to be in force", func() bool { return x.roster.Load().quorum.Joint() })
	g.write(0, fill(10, block.Size))
	s.meta.cancel(0)
	eventually(t, "the old set to be in force", func() bool { return !x.roster.Load().quorum.Joint() })
	g.write(0, fill(11, block.Size))
	s.meta.replace(0, s.nodes[5], in)
	s.meta.stepsAre(t, "hydrated", "finished")
	g.write(0, fill(12, block.Size))
	g.wantBytes(0, append(fill(12, block.Size), fill(9, 39*block.Size)...))
}

// TestR23NextGatewayGoesOn: the gateway dies with two sets in force; the next
// opens with both, and finishes the change.
func TestR23NextGatewayGoesOn(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(9, 40*block.Size))
	in := s.addNode("n6")
	in.kill()
	s.meta.replace(0, s.nodes[5], in)
	x := g.v.group(0)
	eventually(t, "both sets to be in force", func() bool { return x.roster.Load().quorum.Joint() })
	g.write(0, fill(10, block.Size))
	g.stop()
	in.start()
	h := s.open()
	h.wantBytes(0, append(fill(10, block.Size), fill(9, 39*block.Size)...))
	s.meta.stepsAre(t, "hydrated", "finished")
	h.write(0, fill(11, block.Size))
	h.wantBytes(0, append(fill(11, block.Size), fill(9, 39*block.Size)...))
}

// TestR23CancelledChangeOpensTheGroup: of the new set three are there, so that the
// group cannot be opened with both. The change is cancelled: four of the old set
// are there, with all that was acknowledged.
func TestR23CancelledChangeOpensTheGroup(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(9, 40*block.Size))
	g.complete(0, all...)
	g.stop()
	in := s.addNode("n6")
	s.meta.replace(0, s.nodes[5], in)
	for _, n := range []*node{in, s.nodes[3], s.nodes[4]} {
		n.kill()
	}
	h := s.open()
	r, got := h.h.startRead(0, 40*block.Size)
	x := h.v.group(0)
	phase := func() pg.Phase {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.mu.machine.Phase()
	}
	eventually(t, "the end of the log to be found", func() bool { return phase() == pg.Opening })
	if !r.pending() {
		t.Fatal("the group is open with three of the new set")
	}
	s.meta.cancel(0)
	if err := r.err(t); err != nil || differ(got.Bytes(), fill(9, 40*block.Size)) >= 0 {
		t.Fatalf("after the change was cancelled: %v, or other bytes", err)
	}
	h.write(0, fill(10, block.Size))
	h.wantBytes(0, append(fill(10, block.Size), fill(9, 39*block.Size)...))
}
