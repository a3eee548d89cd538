package raftnode

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/placement"
)

// namedMax bounds the volumes that a problem names.
const namedMax = 3

// Problems tells what an operator should know of st, the severe first, and
// what to do about each. A young leader has not heard everybody yet, so it
// takes nobody for dead. It is a pure function.
func Problems(st metadata.Status, young bool) []metadata.Problem {
	var all []metadata.Problem
	if !young {
		all = append(all, deadZonesAndNodes(st)...)
	}
	for _, n := range st.Nodes {
		all = append(all, nodeProblems(n)...)
	}
	for _, v := range st.Volumes {
		all = append(all, volumeProblems(v, young)...)
		all = append(all, reducedProblems(v, st.Nodes)...)
	}
	if !young {
		all = append(all, placements(st)...)
	}
	all = append(all, damageProblems(st)...)
	slices.SortStableFunc(all, func(a, b metadata.Problem) int {
		switch {
		case a.Severe == b.Severe:
			return 0
		case a.Severe:
			return -1
		}
		return 1
	})
	return all
}

// deadZonesAndNodes tells of a zone instead of each of its nodes when all
// are down.
func deadZonesAndNodes(st metadata.Status) []metadata.Problem {
	var all []metadata.Problem
	up, down := make(map[block.Zone]int), make(map[block.Zone]int)
	for _, n := range st.Nodes {
		if n.Up {
			up[n.Zone]++
		} else {
			down[n.Zone]++
		}
	}
	told := make(map[block.Zone]bool)
	for _, n := range st.Nodes {
		switch {
		case n.Up:
		case up[n.Zone] == 0 && down[n.Zone] > 1:
			if !told[n.Zone] {
				told[n.Zone] = true
				all = append(all, metadata.Problem{
					Subject: "zone " + string(n.Zone), What: fmt.Sprintf("all %d nodes are down", down[n.Zone]), Severe: true,
					Do: "bring the zone back; its segments catch up by themselves; if that takes long, let the others go on without it, so that one more failure does not stop writes: sextant pg reduce VOLUME --all --zone " + string(n.Zone),
				})
			}
		default:
			all = append(all, metadata.Problem{
				Subject: "node " + string(n.ID), What: fmt.Sprintf("is down: nothing heard for %v; it has %d segments", n.Silent.Round(time.Second), n.Segments),
				Do: "start it again; its segments catch up by themselves",
			})
		}
	}
	return all
}

func nodeProblems(n metadata.Node) []metadata.Problem {
	var all []metadata.Problem
	add := func(severe bool, what, do string) {
		all = append(all, metadata.Problem{Subject: "node " + string(n.ID), What: what, Do: do, Severe: severe})
	}
	if n.Address == "" {
		add(false, "has no address: another node has registered the same one since", "give each node an address of its own and start it again")
	}
	percent := 0
	if n.Capacity >= 100 {
		percent = int(n.Used / (n.Capacity / 100))
	}
	switch {
	case n.Health.Failed != "":
		add(true, fmt.Sprintf("its disk %v, folder %s, has failed and is used no more: %s", n.Disk, n.Health.Folder, n.Health.Failed),
			fmt.Sprintf("replace the disk: start an empty folder under a new node id in zone %s, do not start this one again, and replace its copies (sextant pg replace); its volumes go on with the others meanwhile", n.Zone))
	case n.Health.Fullness >= metadata.DiskFull:
		add(true, fmt.Sprintf("its disk, folder %s, is full (%d %% taken) and takes no more data; reads go on, and writes with other copies", n.Health.Folder, percent),
			"delete volumes or trim data, give it more --capacity, or add nodes in zone "+string(n.Zone)+"; it goes on by itself then")
	case n.Health.Fullness >= metadata.NearlyFull:
		add(true, fmt.Sprintf("is %d %% full", percent), "add disk space or nodes, or delete data, before it takes no more (at 90 %)")
	case percent >= placement.FullPercent || n.Health.Fullness >= metadata.NoNewSegments:
		add(false, fmt.Sprintf("is %d %% full and takes no new segments", percent), "add nodes in zone "+string(n.Zone))
	}
	if n.State == metadata.NodeDraining && n.Segments == 0 {
		add(false, "is drained: it has no segments left", "it can be removed")
	}
	return all
}

func volumeProblems(vs metadata.VolumeStatus, young bool) []metadata.Problem {
	var all []metadata.Problem
	v := vs.Volume
	add := func(severe bool, what, do string) {
		all = append(all, metadata.Problem{Subject: "volume " + v.Name, What: what, Do: do, Severe: severe})
	}
	if v.Deleting {
		return all // its nodes' problems tell what it waits for
	}
	if v.State != metadata.Closed && !v.Leased && !young {
		add(false, fmt.Sprintf("its gateway %s (%s) is gone without a goodbye", v.Gateway, v.Description), "start a gateway: it opens the volume anew when a client connects")
	}
	for _, l := range losses(vs) {
		all = append(all, l.problems(v.Name)...)
	}
	return all
}

func groups(n int) string {
	if n == 1 {
		return "1 group"
	}
	return fmt.Sprintf("%d groups", n)
}

// placements tells for which volumes new groups cannot be placed, or only
// with silent nodes among theirs.
func placements(st metadata.Status) []metadata.Problem {
	var all []metadata.Problem
	names := make(map[metadata.Quorum][]string)
	var quorums []metadata.Quorum
	for _, vs := range st.Volumes {
		if q := vs.Volume.Quorum; !vs.Volume.Deleting {
			if names[q] == nil {
				quorums = append(quorums, q)
			}
			names[q] = append(names[q], vs.Volume.Name)
		}
	}
	slices.SortFunc(quorums, func(a, b metadata.Quorum) int {
		return cmp.Or(cmp.Compare(a.Copies, b.Copies), cmp.Compare(a.Write, b.Write), cmp.Compare(a.Read, b.Read))
	})
	for _, q := range quorums {
		listed := names[q]
		if len(listed) > namedMax {
			listed = append(slices.Clone(listed[:namedMax]), fmt.Sprintf("%d more", len(listed)-namedMax))
		}
		if p, ok := placementProblem(st.Nodes, q, strings.Join(listed, ", ")); ok {
			all = append(all, p)
		}
	}
	return all
}

// placementProblem tells what a new group of volumes with such a quorum would
// suffer from, if anything.
func placementProblem(nodes []metadata.Node, q metadata.Quorum, volumes string) (metadata.Problem, bool) {
	chosen, err := placement.Choose(nodes, q)
	if err != nil {
		return metadata.Problem{
			Subject: "placement", What: "first writes to new groups of " + volumes + " wait: " + err.Error(),
			Do: "see to the nodes named", Severe: true,
		}, true
	}
	var silent []string
	for _, n := range nodes {
		if placement.Silent(n) && slices.Contains(chosen, n.ID) {
			silent = append(silent, string(n.ID))
		}
	}
	if len(silent) == 0 {
		return metadata.Problem{}, false
	}
	return metadata.Problem{
		Subject: "placement",
		What: fmt.Sprintf("new groups of %s are placed with copies on nodes that are down or whose disks have failed: %s; they begin with %d of %d copies",
			volumes, strings.Join(silent, ", "), q.Copies-len(silent), q.Copies),
		Do: "start the nodes: the copies are made and catch up by themselves; for a node that is lost for good, add another in its zone",
	}, true
}

func damageProblems(st metadata.Status) []metadata.Problem {
	var all []metadata.Problem
	for _, n := range st.Nodes {
		if n.Health.Unmended == 0 {
			continue
		}
		all = append(all, metadata.Problem{
			Subject: "node " + string(n.ID),
			What: fmt.Sprintf("has %d damaged places on its disk, folder %s, that are not mended yet (%d found since it started); what was damaged comes from other copies",
				n.Health.Unmended, n.Health.Folder, n.Damaged),
			Do: "if more come, the disk is dying: add a node in its zone, drain this one so that it takes no new groups, and replace its copies (sextant pg replace)", Severe: true,
		})
	}
	return all
}
