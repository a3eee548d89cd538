package state_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// A folder that was copied and comes back has a boot number that was seen
// already: it lacks what was acknowledged since.
func TestR28OlderCopyOfAFolderIsRefused(t *testing.T) {
	l := newLog(t)
	l.ok(register("n1", "a", 10, 5, 1))
	err := l.refuses(block.Mismatch, register("n1", "a", 10, 4, 2))
	if !strings.Contains(err.Error(), "older copy") {
		t.Errorf("the message does not say what is wrong: %v", err)
	}
	l.refuses(block.Mismatch, register("n1", "a", 10, 5, 2)) // another start with the same number
	l.ok(register("n1", "a", 10, 5, 1))                      // the same start says it again
	l.ok(register("n1", "a", 10, 6, 3))
	l.refuses(block.Mismatch, register("n1", "a", 10, 5, 1)) // the late copy of an old registration
}

// T13: an empty or other disk must not come back under an id that is known.
func TestT13NodeIDBelongsToItsDiskForEver(t *testing.T) {
	l := newLog(t)
	l.ok(register("n1", "a", 10, 1, 1))
	l.refuses(block.Mismatch, register("n1", "a", 11, 2, 2))
	l.refuses(block.Mismatch, register("n2", "a", 10, 2, 2))
	l.ok(nodeState("n1", metadata.NodeRemoved))
	l.refuses(block.Mismatch, register("n1", "a", 10, 9, 9))
	l.refuses(block.Mismatch, register("n3", "a", 10, 9, 9))
	l.refuses(block.NotFound, nodeState("n1", metadata.NodeActive))
}

// T27: an address is known to belong to the node that registered it last.
func TestT27NewestRegistrationTakesTheAddress(t *testing.T) {
	l := newLog(t)
	first := register("n1", "a", 10, 1, 1)
	l.ok(first)
	second := register("n2", "b", 11, 1, 2)
	second.GetRegisterNode().Address = first.GetRegisterNode().Address
	l.ok(second)
	n1, _ := l.s.Node("n1")
	n2, _ := l.s.Node("n2")
	if n1.Address != "" || n2.Address != first.GetRegisterNode().Address {
		t.Fatalf("n1 has address %q, n2 %q", n1.Address, n2.Address)
	}
}

func TestZoneRules(t *testing.T) {
	l := withSix(t)
	l.refuses(block.Invalid, register("n9", "", 10, 1, 1))
	l.refuses(block.Invalid, register("n9", "no spaces", 10, 1, 1))
	l.refuses(block.Invalid, register("n9", "A", 10, 1, 1)) // would pass for a fourth zone beside "a"
	l.ok(register("a1", "b", 100, 2, 1))                    // holds nothing: may move
	l.ok(register("a1", "a", 100, 3, 1))
	l.ok(create(1, "v", block.MiB))
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, six...))
	l.refuses(block.Invalid, register("a1", "b", 100, 4, 1))
}

func TestNodeIsRemovedOnlyWhenItHoldsNothing(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", block.MiB))
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, six...))
	l.refuses(block.Held, nodeState("a1", metadata.NodeRemoved))
	l.ok(nodeState("a1", metadata.NodeDraining))
	l.refuses(block.Held, nodeState("a1", metadata.NodeRemoved))
	l.ok(remove(1, 1))
	l.ok(nodeState("a1", metadata.NodeRemoved)) // what it held is doomed anyway
	for i, n := range six[1:] {
		l.ok(forget(n, 1, 0, uint64(i+2)))
	}
	if vs := l.s.Volumes(); len(vs) != 0 {
		t.Fatalf("a volume of which no segment is left is still there: %+v", vs)
	}
}

func TestDrainingNodeTakesNoSegments(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", 2*block.MiB))
	l.ok(open(1, 0, "g"))
	l.ok(nodeState("b2", metadata.NodeDraining))
	l.refuses(block.Stale, place(1, 1, 0, 1, six...))
	l.ok(nodeState("b2", metadata.NodeActive))
	l.ok(place(1, 1, 0, 1, six...))
}

func TestNodesAreBounded(t *testing.T) {
	l := newLog(t)
	for i := range uint64(metadata.MaxNodes) {
		l.ok(register(fmt.Sprintf("n%d", i), "a", 1000+i, 1, 1))
	}
	if r := l.try(register("more", "a", 5000, 1, 1)); block.KindOf(r.Err) != block.NoSpace {
		t.Fatalf("node %d was not refused: %v", metadata.MaxNodes+1, r.Err)
	}
	l.ok(nodeState("n7", metadata.NodeRemoved))
	l.ok(register("more", "a", 5000, 1, 1))
}

func TestNewAddressOrBootTellsGateways(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", block.MiB))
	version := func() uint64 {
		v, err := l.s.Volume("v")
		if err != nil {
			t.Fatal(err)
		}
		return uint64(v.Version)
	}
	before := version()
	l.ok(register("a1", "a", 100, 2, 77)) // a restart at the same address
	restarted := version()
	if restarted <= before {
		t.Fatal("a node's restart did not move the version")
	}
	moved := register("a1", "a", 100, 2, 77)
	moved.GetRegisterNode().Address = "127.0.0.1:9"
	l.ok(moved)
	if version() <= restarted {
		t.Fatal("a node's new address did not move the version")
	}
}
