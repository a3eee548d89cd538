package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// randomLog is n commands, many of which are refused when applied.
func randomLog(seed uint64, n int) []*pb.Command {
	r := rand.New(rand.NewPCG(seed, 7))
	commands := []*pb.Command{{Body: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{Cluster: id(1)}}}}
	for i, n := range append([]string{"a3", "b3"}, six...) {
		commands = append(commands, register(n, n[:1], uint64(100+i), 1, 1))
	}
	// One volume that is open for a while, with groups to change.
	commands = append(commands, create(9, "v9", 8*block.MiB), open(9, 0, "g"), place(9, 1, 0, 1001, six...), place(9, 1, 1, 1011, six...), done(9, 1))
	small := func(n int) uint64 { return uint64(r.IntN(n)) }
	for len(commands) < n {
		var c *pb.Command
		switch vol, epoch, node := small(5), uint32(small(6)), six[small(6)]; small(20) {
		case 0:
			c = register(node, node[:1], 100+small(7), small(9), small(3))
		case 1:
			c = nodeState(node, metadata.NodeState(1+min(small(20), 2)))
		case 2:
			c = create(vol, fmt.Sprint("v", small(4)), block.ByteCount(1+small(8))*block.MiB)
		case 3:
			c = resize(vol, block.ByteCount(small(20))*block.MiB)
		case 4:
			c = remove(vol, epoch)
		case 5, 6:
			c = open(vol, epoch, fmt.Sprint("g", small(3)))
		case 7:
			c = done(vol, epoch)
		case 8:
			c = goodbye(vol, epoch, small(2) == 0)
		case 9, 10:
			c = place(vol, epoch, uint32(small(9)), 1+10*small(50), six...)
		case 12, 13:
			pg := uint32(small(2))
			c = begin(about(9, 1, pg, 1+uint32(small(6))), 1001+10*uint64(pg)+small(6), 2000+small(9), []string{"a3", "b3", "c2"}[small(3)])
		case 14:
			c = hydrated(about(9, 1, uint32(small(2)), 1+uint32(small(6))))
		case 15:
			c = finish(about(9, 1, uint32(small(2)), 1+uint32(small(6))))
		case 16:
			c = cancel(about(9, 1, uint32(small(2)), 1+uint32(small(6))))
		case 17, 18:
			c = reduce(about(9, 1, uint32(small(2)), 1+uint32(small(6))), []string{"a", "b", "c"}[small(3)])
		case 19:
			c = restore(about(9, 1, uint32(small(2)), 1+uint32(small(6))))
		case 11:
			c = forget(node, vol, uint32(small(9)), small(500), small(500), small(500))
		}
		commands = append(commands, c)
	}
	return commands
}

// Same log, same bytes: on two members, after a restore in the middle, and
// however often the snapshot is taken. Go's random map order is the trap.
func TestSameLogSameSnapshot(t *testing.T) {
	for seed := range uint64(40) {
		commands := randomLog(seed, 500)
		one, two := &log{t: t, s: state.New(), next: 1}, &log{t: t, s: state.New(), next: 1}
		applied := 0
		for i, c := range commands {
			a, b := one.try(c), two.try(c)
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("seed %d, command %d: results differ: %+v and %+v", seed, i, a, b)
			}
			if a.Err == nil {
				applied++
			}
			if i%97 == 0 { // member two restarts from a snapshot
				restored, err := state.Restore(bytes.NewReader(two.snapshot()))
				if err != nil {
					t.Fatalf("seed %d, command %d: %v", seed, i, err)
				}
				two.s = restored
			}
		}
		if x, y := one.snapshot(), two.snapshot(); !bytes.Equal(x, y) || !bytes.Equal(x, one.snapshot()) {
			t.Fatalf("seed %d: snapshots differ", seed)
		}
		if applied < 50 {
			t.Fatalf("seed %d: only %d commands were not refused: the test shows nothing", seed, applied)
		}
	}
}

func TestRefusedCommandChangesNothing(t *testing.T) {
	for seed := range uint64(10) {
		l := &log{t: t, s: state.New(), next: 1}
		for i, c := range randomLog(seed+1000, 300) {
			before := l.bytesWithoutIndex()
			if r := l.try(c); r.Err != nil && !bytes.Equal(before, l.bytesWithoutIndex()) {
				t.Fatalf("seed %d, command %d was refused (%v) but changed the state", seed, i, r.Err)
			}
		}
	}
}

func sample(t testing.TB) []byte {
	l := &log{t: t, s: state.New(), next: 1}
	for _, c := range randomLog(3, 400) {
		l.try(c)
	}
	return l.snapshot()
}

func TestDamagedSnapshotIsNoticed(t *testing.T) {
	snap := sample(t)
	for i := range snap {
		spoiled := bytes.Clone(snap)
		spoiled[i] ^= 1 << (i % 8)
		if _, err := state.Restore(bytes.NewReader(spoiled)); !errors.Is(err, block.Corrupt) && !errors.Is(err, block.Version) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := state.Restore(bytes.NewReader(snap[:i])); !errors.Is(err, block.Corrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := state.Restore(bytes.NewReader(append(bytes.Clone(snap), 0))); !errors.Is(err, block.Corrupt) {
		t.Fatalf("a byte too many: %v", err)
	}
}

// A record that is missing leaves a snapshot whose every record is whole.
func TestMissingOrDoubledRecordIsNoticed(t *testing.T) {
	snap := sample(t)
	for at := 12; at < len(snap); {
		end := at + 8 + int(binary.LittleEndian.Uint32(snap[at:]))
		without := append(bytes.Clone(snap[:at]), snap[end:]...)
		twice := append(bytes.Clone(snap[:end]), snap[at:]...)
		for what, spoiled := range map[string][]byte{"missing": without, "doubled": twice} {
			if _, err := state.Restore(bytes.NewReader(spoiled)); !errors.Is(err, block.Corrupt) {
				t.Errorf("the record at %d is %s: %v", at, what, err)
			}
		}
		at = end
	}
}

func TestNewerSnapshotIsRefused(t *testing.T) {
	snap := bytes.Clone(sample(t))
	binary.LittleEndian.PutUint32(snap[8:], state.Version+1)
	if _, err := state.Restore(bytes.NewReader(snap)); !errors.Is(err, block.Version) {
		t.Fatalf("a snapshot of a newer version: %v", err)
	}
}

func TestSnapshotPrologueIsPinned(t *testing.T) {
	if got, want := snapshotOf(t, state.New())[:12], "SXMETAST\x04\x00\x00\x00"; string(got) != want {
		t.Fatalf("a snapshot begins with %q, not %q", got, want)
	}
}

// TestSnapshotOfVersion1IsRead: such a snapshot has all records of today, but
// for what version 2 added.
func TestSnapshotOfVersion1IsRead(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", 8*block.MiB))
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, six...))
	s, err := state.Restore(bytes.NewReader(asVersion(t, l.snapshot(), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotOf(t, s), l.snapshot()) {
		t.Error("a snapshot of version 1 gives another state")
	}
}

// TestSnapshotOfVersion3IsRead: version 4 changed what a command does, and no record.
func TestSnapshotOfVersion3IsRead(t *testing.T) {
	snap := sample(t)
	s, err := state.Restore(bytes.NewReader(asVersion(t, snap, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotOf(t, s), snap) {
		t.Error("a snapshot of version 3 gives another state")
	}
}

// asVersion is a snapshot that says of itself that it is of another version.
func asVersion(t *testing.T, snapshot []byte, v uint32) []byte {
	t.Helper()
	n := binary.LittleEndian.Uint32(snapshot[12:])
	r := &pb.SnapshotRecord{}
	if err := proto.Unmarshal(snapshot[20:20+n], r); err != nil {
		t.Fatal(err)
	}
	r.GetHeader().Version = v
	header, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.LittleEndian.AppendUint32(bytes.Clone(snapshot[:8]), v)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(header)))
	out = binary.LittleEndian.AppendUint32(out, uint32(block.Checksum(header)))
	return append(append(out, header...), snapshot[20+n:]...)
}

// A volume of 128 TiB has 12,800 groups; a snapshot of it stays small and
// quick, for it is taken while no command is applied.
func TestSnapshotOfAFullVolume(t *testing.T) {
	l := withSix(t)
	c := create(1, "v", block.MaxVolumeSize)
	c.GetCreateVolume().PgSize = uint64(block.DefaultPGSize)
	l.ok(c)
	l.ok(open(1, 0, "g"))
	const groups = 12800
	for i := range uint32(groups) {
		l.ok(place(1, 1, i, uint64(i)*6+1, six...))
	}
	snap := l.snapshot()
	if perGroup := len(snap) / groups; perGroup > 160 {
		t.Errorf("%d bytes of snapshot for each group", perGroup)
	}
	restored, err := state.Restore(bytes.NewReader(snap))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotOf(t, restored), snap) {
		t.Fatal("the restored state gives another snapshot")
	}
	seen := 0
	for from := block.PGIndex(0); ; {
		page, err := restored.Groups(volumeID(1), from, metadata.MaxPGPage)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.PGs)
		if !page.More {
			break
		}
		from = page.Next
	}
	if seen != groups {
		t.Fatalf("pages held %d groups of %d", seen, groups)
	}
}

// mutateVolume restores a snapshot whose volume records were changed.
func mutateVolume(t *testing.T, snap []byte, change func(*pb.VolumeRecord)) *state.State {
	t.Helper()
	out := bytes.Clone(snap[:12])
	for rest := snap[12:]; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest)
		r := &pb.SnapshotRecord{}
		if err := proto.Unmarshal(rest[8:8+n], r); err != nil {
			t.Fatal(err)
		}
		if v := r.GetVolume(); v != nil {
			change(v)
		}
		payload, _ := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(payload)))
		out = binary.LittleEndian.AppendUint32(out, uint32(block.Checksum(payload)))
		out = append(out, payload...)
		rest = rest[8+n:]
	}
	s, err := state.Restore(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzApply: whatever the bytes of a log entry, Apply does not panic, and
// what it leaves behind can be snapshotted and restored.
func FuzzApply(f *testing.F) {
	for _, c := range randomLog(1, 120) {
		b, _ := state.Encode(c)
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		l := withSix(t)
		l.ok(create(1, "v", 8*block.MiB))
		l.ok(open(1, 0, "g"))
		l.ok(place(1, 1, 0, 1, six...))
		l.s.Apply(l.next, a)
		l.s.Apply(l.next+1, b)
		snap := l.snapshot()
		restored, err := state.Restore(bytes.NewReader(snap))
		if err != nil {
			t.Fatalf("a reachable state cannot be restored: %v", err)
		}
		if !bytes.Equal(snapshotOf(t, restored), snap) {
			t.Fatal("the restored state gives another snapshot")
		}
	})
}

// FuzzRestore: whatever the bytes, Restore does not panic; what it accepts
// it writes again.
func FuzzRestore(f *testing.F) {
	f.Add(sample(f))
	f.Add(snapshotOf(f, state.New()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := state.Restore(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := state.Restore(bytes.NewReader(snapshotOf(t, s)))
		if err != nil || !bytes.Equal(snapshotOf(t, again), snapshotOf(t, s)) {
			t.Fatalf("an accepted snapshot does not survive: %v", err)
		}
	})
}
