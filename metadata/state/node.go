package state

import (
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

func (s *State) registerNode(c *pb.RegisterNode) error {
	r, err := metadata.RegistrationFromPB(&pb.RegisterNodeRequest{
		Node: c.GetNode(), Zone: c.GetZone(), Address: c.GetAddress(), Disk: c.GetDisk(),
		Boot: c.GetBoot(), Capacity: c.GetCapacity(), Session: c.GetSession(),
	})
	if err != nil {
		return err
	}
	if err := s.MayRegister(r); err != nil {
		return err
	}
	n := s.nodes[r.Node]
	if n == nil {
		n = s.addNode(r)
	}
	s.takeAddress(n, r.Address)
	if n.boot != r.Boot {
		s.nodesVersion++
	}
	n.zone, n.boot, n.session, n.capacity = r.Zone, r.Boot, r.Session, r.Capacity
	return nil
}

// MayRegister says whether a registration keeps the rules. Error kinds:
// Mismatch, Invalid, NoSpace.
func (s *State) MayRegister(r metadata.NodeRegistration) error {
	if n := s.nodes[r.Node]; n != nil {
		if err := checkReturn(n, r); err != nil {
			return err
		}
	} else if s.liveNodes() >= metadata.MaxNodes {
		return block.Errorf(block.NoSpace, "node %s: the cluster has %d nodes already, no more are supported", r.Node, metadata.MaxNodes)
	}
	if owner := s.disks[r.Disk]; owner != nil && owner.id != r.Node {
		return block.Errorf(block.Mismatch, "disk %s belongs to node %s, not to %s: start it under its own id, or format the folder anew", r.Disk, owner.id, r.Node)
	}
	for _, other := range s.nodes {
		if other.id != r.Node && other.state != metadata.NodeRemoved && other.zone != r.Zone && strings.EqualFold(string(other.zone), string(r.Zone)) {
			return block.Errorf(block.Invalid, "zone %s of node %s differs from zone %s, which is in use, only in upper and lower case: they would count as two zones", r.Zone, r.Node, other.zone)
		}
	}
	return nil
}

// checkReturn checks a node that is known already (R28, trap T13).
func checkReturn(n *node, r metadata.NodeRegistration) error {
	switch {
	case n.state == metadata.NodeRemoved:
		return block.Errorf(block.Mismatch, "node %s was removed from the cluster: start with an empty folder and another node id", n.id)
	case n.disk != r.Disk:
		return block.Errorf(block.Mismatch, "node %s belongs to disk %s, but the folder given is disk %s: a new disk is a new node; give it another node id", n.id, n.disk, r.Disk)
	case r.Boot < n.boot || r.Boot == n.boot && r.Session != n.session:
		return block.Errorf(block.Mismatch, "node %s: this folder is an older copy of disk %s, or a second process uses a copy of it: its start number %d is not above %d, the last one seen; it may lack acknowledged writes and must not be used", n.id, n.disk, r.Boot, n.boot)
	case n.zone != r.Zone && n.segments > 0:
		return block.Errorf(block.Invalid, "node %s holds %d segments as part of zone %s: it cannot move to zone %s", n.id, n.segments, n.zone, r.Zone)
	}
	return nil
}

func (s *State) addNode(r metadata.NodeRegistration) *node {
	n := &node{number: s.nextNode, id: r.Node, disk: r.Disk, state: metadata.NodeActive}
	s.nextNode++
	s.indexNode(n)
	return n
}

func (s *State) indexNode(n *node) {
	s.nodes[n.id], s.numbers[n.number], s.disks[n.disk] = n, n, n
}

// takeAddress gives the address to n, away from whoever had it: the newest
// registration wins, and identity is checked on the wire anyway (trap T27).
func (s *State) takeAddress(n *node, address string) {
	if n.address == address {
		return
	}
	for _, other := range s.nodes {
		if other.address == address {
			other.address = "" // at most one has it, so order does not matter
		}
	}
	n.address = address
	s.nodesVersion++
}

func (s *State) liveNodes() int {
	live := 0
	for _, n := range s.nodes {
		if n.state != metadata.NodeRemoved {
			live++
		}
	}
	return live
}

func (s *State) setNodeState(c *pb.SetNodeState) error {
	n := s.nodes[block.NodeID(c.GetNode())]
	if n == nil {
		return block.Errorf(block.NotFound, "node %q does not exist", c.GetNode())
	}
	switch to := metadata.NodeState(c.GetState()); to {
	case n.state:
		return nil
	case metadata.NodeActive, metadata.NodeDraining:
		if n.state == metadata.NodeRemoved {
			return block.Errorf(block.NotFound, "node %s was removed: that is final", n.id)
		}
		n.state = to
		return nil
	case metadata.NodeRemoved:
		return s.removeNode(n)
	}
	return block.Errorf(block.Invalid, "node %s cannot get state %d", n.id, c.GetState())
}

// removeNode is refused while a volume that lives has a segment there;
// segments that departed, or of volumes being deleted, are forgotten with the
// node.
func (s *State) removeNode(n *node) error {
	doomed := 0
	for _, v := range s.volumes {
		doomed += v.departedFrom(n.number)
		if v.deleting {
			doomed += v.segmentsOn(n.number)
		}
	}
	if held := n.segments - doomed; held > 0 {
		return block.Errorf(block.Held, "node %s holds %d segments: replace them on other nodes, or delete their volumes, first", n.id, held)
	}
	for _, v := range s.volumes {
		s.forget(v, n, func(block.SegmentID) bool { return true })
	}
	n.state, n.address = metadata.NodeRemoved, ""
	s.forgetOldTombstones()
	return nil
}

func (s *State) forgetOldTombstones() {
	for len(s.nodes)-s.liveNodes() > maxTombstones {
		var oldest *node
		for _, n := range s.nodes {
			if n.state == metadata.NodeRemoved && (oldest == nil || n.number < oldest.number) {
				oldest = n
			}
		}
		delete(s.nodes, oldest.id)
		delete(s.numbers, oldest.number)
		delete(s.disks, oldest.disk)
	}
}
