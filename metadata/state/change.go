package state

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// A group's segments change in two steps (R23 to R26). In between two quorum
// sets are in force, the old one first, and every write needs both:
//
//	one set ──begin──▶ old and new ──finish──▶ new set, who left is dropped
//	                        └───────cancel───▶ old set, who joined is dropped
//
// A zone that is lost for long is given up and taken back by the same steps
// (reduce.go). Each step raises the membership epoch. Marking the new segment hydrated is
// no step: the sets stay. Whoever proposes a command has seen the group under
// the volume epoch and membership epoch that it quotes. While a volume is being
// recovered nothing changes, nor does a group that could not be opened; but a
// change may be cancelled then: perhaps the group cannot be opened with both sets,
// and who counts with both asks more than the old one does.

// maxDeparted bounds the segments of a volume that left their groups and are
// not dropped yet: nodes that are dead for good have to be removed.
const maxDeparted = 4096

// departed is a segment that left its group and whose node has to drop it.
type departed struct {
	pg   block.PGIndex
	id   block.SegmentID
	node uint32
}

// joint reports whether two quorum sets are in force.
func (g *group) joint() bool { return len(g.sets) > 1 }

// groupToChange finds the group that a command is about, checks what it quotes,
// and that the group is open, or its volume closed. Error kinds: Invalid,
// NotFound, Stale, Unavailable.
func (s *State) groupToChange(c *pb.GroupChange) (*volume, *group, error) {
	v, g, err := s.quotedGroup(c)
	if err != nil {
		return nil, nil, err
	}
	if v.open == metadata.Recovering && !mutant.On(mutant.ChangeInRecovery) {
		return nil, nil, block.Errorf(block.Unavailable, "volume %s is being opened: its groups do not change before that is done; try again", v.name)
	}
	if _, frozen := slices.BinarySearch(v.unopened, g.index); frozen && v.open == metadata.Open {
		return nil, nil, block.Errorf(block.Unavailable, "volume %s, group %v cannot be opened yet: too few of its copies are there; it does not change before that is done", v.name, g.index)
	}
	return v, g, nil
}

// quotedGroup finds the group that a command is about, and checks what it quotes.
// Error kinds: Invalid, NotFound, Stale, NoSpace.
func (s *State) quotedGroup(c *pb.GroupChange) (*volume, *group, error) {
	v, err := s.liveVolume(c.GetVolume())
	if err != nil {
		return nil, nil, err
	}
	if e := block.VolumeEpoch(c.GetEpoch()); e != v.epoch {
		return nil, nil, block.Errorf(block.Stale, "volume %s is at epoch %d, the change quotes %d: another gateway has opened it", v.name, v.epoch, e)
	}
	index := block.PGIndex(c.GetPg())
	at, placed := slices.BinarySearchFunc(v.pgs, index, byIndex)
	if !placed {
		return nil, nil, block.Errorf(block.NotFound, "volume %s: group %v is not placed: nothing was written there", v.name, index)
	}
	g := v.pgs[at]
	if m := block.MembershipEpoch(c.GetMembership()); m != g.membership {
		return nil, nil, block.Errorf(block.Stale, "volume %s, group %v is at membership epoch %d, the change quotes %d: it was changed meanwhile", v.name, index, g.membership, m)
	}
	if g.membership == 1<<32-1 {
		return nil, nil, block.Errorf(block.NoSpace, "volume %s, group %v: its membership epochs are used up", v.name, index)
	}
	return v, g, nil
}

// changeOfWriter is groupToChange for what a writer proposes about a change that
// has begun. Error kinds: Fenced when it is not the owner, and those of
// groupToChange.
func (s *State) changeOfWriter(c *pb.GroupChange) (*volume, *group, error) {
	if _, err := s.ownedVolume(c.GetVolume(), block.VolumeEpoch(c.GetEpoch())); err != nil {
		return nil, nil, err
	}
	v, g, err := s.groupToChange(c)
	if err == nil {
		err = v.underWay(g)
	}
	return v, g, err
}

// underWay says that no change of a group is. Error kind: NotFound.
func (v *volume) underWay(g *group) error {
	if g.joint() {
		return nil
	}
	return block.Errorf(block.NotFound, "volume %s, group %v: no change of its segments is under way", v.name, g.index)
}

// beginReplace makes two sets of one: with the segment that is to leave, and
// with the new one in its place (R25).
func (s *State) beginReplace(c *pb.BeginReplace) Result {
	joining, err := metadata.IDFromPB[block.SegmentID]("segment", c.GetJoining().GetId())
	if err != nil {
		return refused(err)
	}
	if pg, again := s.groupWith(c.GetGroup(), joining); again {
		return Result{PG: pg}
	}
	v, g, err := s.groupToChange(c.GetGroup())
	if err != nil {
		return refused(err)
	}
	leaving, err := metadata.IDFromPB[block.SegmentID]("segment", c.GetLeaving())
	if err != nil {
		return refused(err)
	}
	out := slices.IndexFunc(g.segments, func(seg segment) bool { return seg.id == leaving })
	if out < 0 {
		return refused(block.Errorf(block.NotFound, "volume %s, group %v has no segment %s", v.name, g.index, leaving))
	}
	n, err := s.mayBegin(v, g, out, joining, block.NodeID(c.GetJoining().GetNode()))
	if err != nil {
		return refused(err)
	}
	n.segments++
	joins := segment{id: joining, node: n.number, born: v.epoch}
	if g.reduced() {
		s.replaceOut(v, g, out, joins)
		return Result{PG: s.viewGroup(v, g)}
	}
	g.sets = jointSets(len(g.segments), out)
	g.segments = append(g.segments, joins)
	v.step(g)
	return Result{PG: s.viewGroup(v, g)}
}

// placed is the group of a command as it is, whatever the command quotes.
func (s *State) placed(c *pb.GroupChange) (*volume, *group, bool) {
	v, err := s.liveVolume(c.GetVolume())
	if err != nil {
		return nil, nil, false
	}
	at, placed := slices.BinarySearchFunc(v.pgs, block.PGIndex(c.GetPg()), byIndex)
	if !placed {
		return nil, nil, false
	}
	return v, v.pgs[at], true
}

// groupWith gives the group of a command if it has the segment already: the
// command was carried out before.
func (s *State) groupWith(c *pb.GroupChange, id block.SegmentID) (pg metadata.PGConfig, has bool) {
	v, g, ok := s.placed(c)
	if !ok || id.IsZero() || !slices.ContainsFunc(g.segments, func(seg segment) bool { return seg.id == id }) {
		return pg, false
	}
	return s.viewGroup(v, g), true
}

// jointSets are all n segments, and all but out with a further one.
func jointSets(n, out int) [][]uint8 {
	old, next := everyone(n), everyone(n)
	next[out] = uint8(n)
	return [][]uint8{old, next}
}

// mayChange says whether a change of a group's segments may begin. Error kind:
// Held: one is under way, or too many are.
func (v *volume) mayChange(g *group) error {
	switch {
	case g.joint() && g.smaller() == nil:
		return block.Errorf(block.Held, "volume %s, group %v: a segment is being replaced already: wait until that is done, or cancel it", v.name, g.index)
	case g.joint():
		return block.Errorf(block.Held, "volume %s, group %v: a zone is being given up, or taken back: wait until that is done, or cancel it", v.name, g.index)
	case len(v.changing) >= metadata.MaxChanging:
		return block.Errorf(block.Held, "volume %s: %d groups change already: wait until some are done", v.name, len(v.changing))
	}
	return nil
}

// mayBegin checks that a segment may take the place of the out-th on that
// node. Error kinds: Held: a change is under way, or too many are; NoSpace;
// Invalid; Stale: the node takes no segments (any more).
func (s *State) mayBegin(v *volume, g *group, out int, joining block.SegmentID, to block.NodeID) (*node, error) {
	if err := v.mayChange(g); err != nil {
		return nil, err
	}
	n := s.nodes[to]
	switch {
	case g.reduced() && slices.Contains(g.sets[0], uint8(out)):
		return nil, block.Errorf(block.Held, "volume %s, group %v goes on with %d of its %d segments: bring it back to all of them before one of those is replaced (sextant pg restore)",
			v.name, g.index, len(g.sets[0]), len(g.segments))
	case len(v.departed)+len(v.changing) >= maxDeparted:
		return nil, block.Errorf(block.NoSpace, "volume %s: %d replaced segments are not dropped yet: start their nodes, or remove those that are lost", v.name, len(v.departed))
	case joining.IsZero():
		return nil, block.Errorf(block.Invalid, "the new segment has no id")
	case n == nil || n.state != metadata.NodeActive:
		return nil, block.Errorf(block.Stale, "node %q takes no new segments", to)
	}
	var zones []block.Zone
	for i, seg := range g.segments {
		if seg.node == n.number {
			return nil, block.Errorf(block.Invalid, "node %s has a segment of group %v already, or the one that leaves: another disk is needed", n.id, g.index)
		}
		if i != out {
			zones = append(zones, s.numbers[seg.node].zone)
		}
	}
	if !WellSpread(append(zones, n.zone)) {
		return nil, block.Errorf(block.Invalid, "node %s in zone %s cannot take the place of a segment in zone %s: the copies would not be spread %v over zones",
			n.id, n.zone, s.numbers[g.segments[out].node].zone, Spread(v.quorum.Copies))
	}
	return n, nil
}

// WellSpread reports whether copies in these zones are spread as Spread says.
func WellSpread(zones []block.Zone) bool {
	inZone := make(map[block.Zone]int)
	for _, z := range zones {
		inZone[z]++
	}
	var spread []int
	for _, count := range inZone {
		spread = append(spread, count)
	}
	slices.SortFunc(spread, func(a, b int) int { return b - a })
	return slices.Equal(spread, Spread(len(zones)))
}

// markHydrated notes that the new segment has all that was acknowledged
// before two sets were in force, so that it counts for data from now on (R25).
func (s *State) markHydrated(c *pb.MarkHydrated) Result {
	v, g, err := s.changeOfWriter(c.GetGroup())
	if err != nil {
		return refused(err)
	}
	for _, i := range g.sets[1] {
		g.segments[i].hydrated = true
	}
	return Result{PG: s.viewGroup(v, g)}
}

// finishChange leaves the new set alone in force. That it may be is proven by
// the writer (R26: volume/pg); here only its epochs can be checked, and that
// the new segment was marked hydrated.
func (s *State) finishChange(c *pb.FinishChange) Result {
	v, g, err := s.changeOfWriter(c.GetGroup())
	if err != nil {
		return refused(err)
	}
	for _, i := range g.sets[1] {
		if seg := &g.segments[i]; !seg.hydrated {
			return refused(block.Errorf(block.Behind, "volume %s, group %v: segment %s is not hydrated yet", v.name, g.index, seg.id))
		}
	}
	s.settle(v, g, g.sets[1])
	return Result{PG: s.viewGroup(v, g)}
}

// cancelChange goes back to the old set. That is always right: all that was
// acknowledged meanwhile has a write quorum there, too; also while the group is
// being opened: an opening that counts with both sets counts with the old one.
// Builds before refused that, and their commands still are.
func (s *State) cancelChange(c *pb.CancelChange, whileOpened bool) Result {
	find := s.groupToChange
	if whileOpened {
		find = s.quotedGroup
	}
	v, g, err := find(c.GetGroup())
	if err == nil {
		err = v.underWay(g)
	}
	if err != nil {
		return refused(err)
	}
	s.settle(v, g, g.sets[0])
	return Result{PG: s.viewGroup(v, g)}
}

// settle leaves one set in force. When a segment is replaced the other one
// departs; a zone that is given up is out, and not gone (R29).
func (s *State) settle(v *volume, g *group, set []uint8) {
	switch {
	case g.smaller() == nil:
		s.depart(v, g, set)
	case len(set) == len(g.segments):
		g.sets = nil
	default:
		g.takeOut(set)
	}
	v.step(g)
}

// depart leaves a set of segments in the group; the others are to be dropped.
func (s *State) depart(v *volume, g *group, set []uint8) {
	stay := make([]segment, 0, len(set))
	for _, i := range set {
		stay = append(stay, g.segments[i])
	}
	for _, seg := range g.segments {
		if !slices.Contains(stay, seg) {
			v.departed = append(v.departed, departed{pg: g.index, id: seg.id, node: seg.node})
		}
	}
	g.segments, g.sets = stay, nil
}

// step raises the membership epoch of a group whose sets have changed.
func (v *volume) step(g *group) {
	g.membership++
	v.version++
	v.noteChanging(g)
}

// noteChanging keeps the lists of groups that change, and of those that go on
// without a zone.
func (v *volume) noteChanging(g *group) {
	v.changing = noted(v.changing, g.index, g.joint())
	v.reduced = noted(v.reduced, g.index, g.reduced())
}

// noted is an ascending list with a group in it, or without.
func noted(list []block.PGIndex, i block.PGIndex, in bool) []block.PGIndex {
	at, listed := slices.BinarySearch(list, i)
	switch {
	case in && !listed:
		return slices.Insert(list, at, i)
	case !in && listed:
		return slices.Delete(list, at, at+1)
	}
	return list
}

// forgetDeparted takes segments on n that match off the list of those to be
// dropped.
func (s *State) forgetDeparted(v *volume, n *node, match func(block.SegmentID) bool) {
	before := len(v.departed)
	v.departed = slices.DeleteFunc(v.departed, func(d departed) bool { return d.node == n.number && match(d.id) })
	n.segments -= before - len(v.departed)
}

// departedFrom counts the segments on a node that only wait to be dropped.
func (v *volume) departedFrom(number uint32) int {
	count := 0
	for _, d := range v.departed {
		if d.node == number {
			count++
		}
	}
	return count
}
