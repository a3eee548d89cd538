package logstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// Rebuild makes the index from the log, whatever the checkpoints say, and writes
// over the older of them.
func TestRebuildWritesACheckpoint(t *testing.T) {
	fs, d := laps(t, 3)
	rot(t, fs, stateName(d.store.ckpt.durable()), 40)
	sum, err := Rebuild(fs, "/store", diskA, cleaning())
	must(t, err)
	if sum.Segments != 3 || sum.Blocks == 0 || len(sum.Damaged) > 0 || generation(sum.Generation) <= d.store.ckpt.durable() {
		t.Fatalf("%+v", sum)
	}
	all, err := InspectCheckpoints(fs, "/store")
	must(t, err)
	if generation(all[1].Generation) != d.store.ckpt.durable() {
		t.Fatalf("the newest checkpoint was written over: %+v", all)
	}
	s := open(t, fs, cleaning())
	if got := s.ckpt.durable(); uint32(got) != sum.Generation || len(s.Damage()) > 0 {
		t.Fatalf("checkpoint %d is in force, %d was written; damage %v", got, sum.Generation, s.Damage())
	}
	for n, m := range d.models {
		if diff := differ(t, segment(t, s, n), m, dirtBlocks); diff != "" {
			t.Fatalf("segment %d: %s", n, diff)
		}
	}
}

// A damaged log knows less than a checkpoint: then nothing is written.
func TestRebuildOfADamagedLogChangesNothing(t *testing.T) {
	fs, d := laps(t, 3)
	for _, f := range d.store.files.Load().all {
		if f.header.kind == fileCold && f.header.seq != d.store.cleaner.cold.last {
			rot(t, fs, f.name, headerCopies*pageSize+20)
			break
		}
	}
	before := fs.Describe()
	sum, err := Rebuild(fs, "/store", diskA, cleaning())
	wantKind(t, err, block.Corrupt)
	if len(sum.Damage) == 0 || fs.Describe() != before {
		t.Fatalf("%+v\n%s\nwas\n%s", sum, fs.Describe(), before)
	}
	_, err = Rebuild(newDisk(), "/store", diskA, cleaning())
	wantKind(t, err, block.NotFound)
}

// Inspecting tells which checkpoint opening begins with, and why.
func TestInspectCheckpoints(t *testing.T) {
	for _, c := range []struct {
		name string
		rot  []string
		why  [2]string // of the newer, of the older
		used int       // which of the two; -1: none
	}{
		{"whole", nil, [2]string{"newest", "a newer one"}, 0},
		{"the newer state", []string{stateName(2)}, [2]string{"damaged", "newest"}, 1},
		{"both", []string{stateName(2), leavesName(1)}, [2]string{"damaged", "damaged"}, -1},
		{"the newer manifest", []string{manifestName(1)}, [2]string{"newest", "damaged"}, 0},
	} {
		disk := twice(t)
		for _, name := range c.rot {
			rot(t, disk, name, 100)
		}
		all, err := InspectCheckpoints(disk, "/store")
		must(t, err)
		for i, info := range all {
			if !strings.Contains(info.Why, c.why[i]) || info.Used != (i == c.used) || (info.Damage != "") != (c.why[i] == "damaged") {
				t.Errorf("%s: %d: %+v", c.name, i, info)
			}
		}
		if c.used < 0 {
			continue
		}
		u := all[c.used]
		s := readOnly(t, disk)
		g := segment(t, s, 1)
		if generation(u.Generation) != s.ckpt.durable() || len(u.Segments) != 1 || u.Segments[0].Segment != g.ID().String() || u.Segments[0].Leaves == 0 ||
			u.Hot.Batch == 0 || u.Parts[0].Used == 0 || u.State.Size == 0 || u.Disk != diskA.String() {
			t.Errorf("%s: %+v, checkpoint %d is in force", c.name, u, s.ckpt.durable())
		}
		must(t, s.Close())
	}
	_, err := InspectCheckpoints(newDisk(), "/store")
	wantKind(t, err, block.NotFound)
	if all, err := InspectCheckpoints(oneSegment(t), "/store"); err != nil || all[0].Used || all[0].Why != "there is none" {
		t.Errorf("%+v, %v", all, err)
	}
}

// oneSegment is a disk with a log and no checkpoint.
func oneSegment(t *testing.T) vfstest.Disk {
	t.Helper()
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 2)
	must(t, s.Close())
	return fs
}

// Inspecting a log that was cleaned many times finds no damage, and knows what
// its records say of files.
func TestInspectKnowsCleanedLogs(t *testing.T) {
	fs, d := laps(t, 2)
	kinds, types := map[string]bool{}, map[string]string{}
	sum, err := Inspect(fs, "/store", Inspector{
		File:   func(f FileInfo) error { kinds[f.Kind] = true; return nil },
		Record: func(r RecordInfo) error { types[r.Type] = fmt.Sprint(r.File, r.Source); return nil },
		Damage: func(d Damage) error { t.Errorf("%v", d); return nil },
	})
	must(t, err)
	if sum.LastCold != logName(d.store.cleaner.cold.last) || !kinds["hot"] || !kinds["cold"] {
		t.Errorf("%+v, kinds %v", sum, kinds)
	}
	for _, typ := range []string{"free", "seal", "reloc"} {
		if !strings.Contains(types[typ], "log-") {
			t.Errorf("%s: %q", typ, types[typ])
		}
	}
}
