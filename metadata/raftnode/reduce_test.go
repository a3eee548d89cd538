package raftnode

import (
	"errors"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// TestR29ThroughTheService: what people and a gateway ask for, as they ask it: a
// group goes on without a zone and takes it back; status tells of each step, and
// the gateway learns of it with its lease.
func TestR29ThroughTheService(t *testing.T) {
	_, _, c := leased(t)
	sixDaemons(t, c)
	v := create(t, c, "v", 100*block.MiB)
	open(t, c, "v", "g1")
	if _, err := c.EnsurePG(within(t), v.ID, 1, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReduceGroup(within(t), "v", 3, "b"); !errors.Is(err, block.Unavailable) {
		t.Fatalf("while the volume is opened: %v", err)
	}
	if err := c.OpenDone(within(t), v.ID, 1, nil); err != nil {
		t.Fatal(err)
	}
	ref := func(m block.MembershipEpoch) metadata.ChangeRef {
		return metadata.ChangeRef{Volume: v.ID, Epoch: 1, PG: 3, Membership: m}
	}
	// told is what status and a lease renewal tell.
	told := func() (st metadata.VolumeStatus, changing []metadata.PGMembership) {
		t.Helper()
		s, err := c.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.RenewLease(within(t), metadata.LeaseReport{Volume: v.ID, Epoch: 1, Gateway: "g1"})
		if err != nil {
			t.Fatal(err)
		}
		return s.Volumes[0], r.Changing
	}
	pg, err := c.ReduceGroup(within(t), v.ID.String(), 3, "b")
	if err != nil || !pg.Reducing() || pg.Membership != 2 {
		t.Fatalf("given up: %+v, %v", pg, err)
	}
	if st, changing := told(); len(st.Changes) != 1 || st.Changes[0].Zone != "b" || st.Changes[0].Back || len(changing) != 1 {
		t.Errorf("given up: told %+v, %+v", st.Changes, changing)
	}
	if pg, err = c.FinishChange(within(t), ref(2)); err != nil || !pg.Reduced() || len(pg.Sets[0]) != 4 || pg.Departed != 2 {
		t.Fatalf("gone: %+v, %v", pg, err)
	}
	if st, changing := told(); len(st.Changes)+len(changing) != 0 || st.ReducedTotal != 1 || st.Reduced[0] != (metadata.ReducedPG{PG: 3, Zone: "b", Copies: 4}) {
		t.Errorf("gone: told %+v, %+v, %+v", st.Changes, st.Reduced, changing)
	}
	if pg, err = c.RestoreGroup(within(t), "v", 3); err != nil || !pg.Restoring() {
		t.Fatalf("taken back: %+v, %v", pg, err)
	}
	if st, changing := told(); st.ReducedTotal != 0 || len(st.Changes) != 1 || !st.Changes[0].Back || st.Changes[0].Hydrated || len(changing) != 1 {
		t.Errorf("taken back: told %+v, %+v", st, changing)
	}
	if _, err := c.MarkHydrated(within(t), ref(4)); err != nil {
		t.Fatal(err)
	}
	if pg, err = c.FinishChange(within(t), ref(4)); err != nil || pg.Joint() || len(pg.Sets[0]) != 6 || pg.Departed != 0 {
		t.Fatalf("back: %+v, %v", pg, err)
	}
	if _, err := c.ReduceGroup(within(t), "w", 3, "b"); !errors.Is(err, block.NotFound) {
		t.Errorf("a volume that does not exist: %v", err)
	}
}
