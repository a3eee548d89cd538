package volume

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// reduce begins to have group i go on without its segments on some nodes (R29).
func (m *meta) reduce(i block.PGIndex, out ...*node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pgLocked(i)
	var rest []int
	for k, s := range p.Segments {
		if s.Node != out[0].name && s.Node != out[1].name {
			rest = append(rest, k)
		}
	}
	p.Sets = [][]int{{0, 1, 2, 3, 4, 5}, rest}
	p.Membership++
}

// restore begins to have it take them back.
func (m *meta) restore(i block.PGIndex) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pgLocked(i)
	p.Sets = [][]int{p.Sets[0], {0, 1, 2, 3, 4, 5}}
	p.Membership++
}

// awaitSets waits until the gateway counts with such a configuration.
func (g *gateway) awaitSets(want string) {
	g.t.Helper()
	eventually(g.t, "the group to go on with "+want, func() bool { return g.v.group(0).roster.Load().quorum.String() == want })
}

// TestR29ZoneIsLostForLong: two nodes are dead, the group goes on without them;
// one more dies, and writes go on; another gateway takes over and finds all; the
// nodes come back, are taken back, and have everything in the end.
func TestR29ZoneIsLostForLong(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(1, 40*block.Size))
	g.complete(0, all...)
	lost := []*node{s.nodes[4], s.nodes[5]}
	for _, n := range lost {
		n.kill()
	}
	s.meta.reduce(0, lost...)
	s.meta.stepsAre(t, "finished")
	g.awaitSets("m3 3/2 of [0 1 2 3]")
	g.write(0, fill(2, 8*block.Size))
	s.nodes[3].kill()
	stop := g.load(append(fill(2, 8*block.Size), fill(1, 24*block.Size)...))
	stop()
	g.write(0, fill(3, 4*block.Size))
	for _, h := range g.v.Unhealthy() {
		if h.Node == lost[0].name || h.Node == lost[1].name {
			t.Errorf("the gateway tells of a segment that is out: %+v", h)
		}
	}
	g.stop()

	h := s.open()
	h.write(4*block.Size, fill(4, 28*block.Size))
	image := append(fill(3, 4*block.Size), append(fill(4, 28*block.Size), fill(1, 8*block.Size)...)...)
	h.wantBytes(0, image)
	for _, n := range append(lost, s.nodes[3]) {
		n.start()
	}
	s.meta.restore(0)
	s.meta.stepsAre(t, "finished", "hydrated", "finished")
	h.awaitSets("m5 4/3 of [0 1 2 3 4 5]")
	h.write(0, fill(5, block.Size))
	h.complete(0, all...)
	copy(image, fill(5, block.Size))
	h.wantBytes(0, image)
}

// TestR29ChangesGoOnWithTheNextGateway: one dies while a zone is given up, the
// next finishes that; it dies while the zone is taken back, and so on; then the
// zone is lost once more, and the change is cancelled.
func TestR29ChangesGoOnWithTheNextGateway(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(1, 40*block.Size))
	g.complete(0, all...)
	lost := []*node{s.nodes[0], s.nodes[1]}
	for _, n := range lost {
		n.kill()
	}
	g.stop()
	s.meta.reduce(0, lost...)
	g = s.open()
	g.write(0, fill(2, block.Size))
	s.meta.stepsAre(t, "finished")
	g.awaitSets("m3 3/2 of [2 3 4 5]")
	s.meta.restore(0)                                           // nobody comes back yet
	g.awaitSets("m4 3/2 of [2 3 4 5] and 4/3 of [1 0 2 3 4 5]") // numbers that are free are given anew
	g.write(0, fill(3, block.Size))
	g.stop()
	g = s.open()
	g.wantBytes(0, append(fill(3, block.Size), fill(1, 39*block.Size)...))
	s.meta.set(func() { s.meta.settleLocked(s.meta.pgLocked(0), 0) })
	g.awaitSets("m5 3/2 of [2 3 4 5]")
	g.write(0, fill(4, block.Size))
	for _, n := range lost {
		n.start()
	}
	s.meta.restore(0)
	s.meta.stepsAre(t, "finished", "hydrated", "finished")
	g.complete(0, all...)
	g.wantBytes(0, append(fill(4, block.Size), fill(1, 39*block.Size)...))
}
