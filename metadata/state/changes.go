package state

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Changing are the groups of which the volume's writer, who knows those under
// way, may not know the configuration: those that change, and those known that
// are at another membership epoch. A volume that does not exist has none.
func (s *State) Changing(id block.VolumeID, known []metadata.PGMembership) []metadata.PGMembership {
	v := s.volumes[id]
	if v == nil {
		return nil
	}
	var out []metadata.PGMembership
	for _, i := range v.changing {
		at, _ := slices.BinarySearchFunc(v.pgs, i, byIndex)
		out = append(out, metadata.PGMembership{PG: i, Membership: v.pgs[at].membership})
	}
	for _, k := range known {
		at, placed := slices.BinarySearchFunc(v.pgs, k.PG, byIndex)
		if placed && !v.pgs[at].joint() && v.pgs[at].membership != k.Membership {
			out = append(out, metadata.PGMembership{PG: k.PG, Membership: v.pgs[at].membership})
		}
	}
	return out
}

// Changes are up to limit changes of a volume that are under way, and how many
// there are.
func (s *State) Changes(id block.VolumeID, limit int) (changes []metadata.PGChange, total int) {
	v := s.volumes[id]
	if v == nil {
		return nil, 0
	}
	for _, i := range v.changing[:min(limit, len(v.changing))] {
		at, _ := slices.BinarySearchFunc(v.pgs, i, byIndex)
		pg := s.viewGroup(v, v.pgs[at])
		changes = append(changes, changeOf(pg))
	}
	return changes, len(v.changing)
}

// changeOf is what changes in a group with two sets.
func changeOf(pg metadata.PGConfig) metadata.PGChange {
	c := metadata.PGChange{PG: pg.Index, Hydrated: true, Back: pg.Restoring()}
	if leaving, ok := pg.Leaving(); ok {
		joining, _ := pg.Joining()
		c.Leaving, c.LeavingNode, c.Joining, c.JoiningNode = leaving.ID, leaving.Node, joining.ID, joining.Node
	}
	c.Zone, _ = pg.Without()
	for _, s := range pg.Segments {
		c.Hydrated = c.Hydrated && s.Hydrated
	}
	return c
}
