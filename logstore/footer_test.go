package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// large is small with files that get footers.
func large() Config {
	cfg := small()
	cfg.FileSize = 4 * block.MiB
	return cfg
}

// footers tells which files of the log have one that is whole.
func footers(t *testing.T, disk vfstest.Disk) map[string]bool {
	t.Helper()
	s := readOnly(t, disk)
	defer s.Close()
	has := map[string]bool{}
	for _, f := range s.files.Load().all {
		has[f.name] = readFooter(f, f.reader) != nil
	}
	return has
}

// sealAll writes the footers of all files that wait for theirs.
func sealAll(t *testing.T, s *Store) {
	t.Helper()
	s.sealer.work(nil)
	for _, f := range s.files.Load().all {
		if f.sealed.Load() && readFooter(f, f.reader) == nil {
			t.Fatalf("%s got no footer", f.name)
		}
	}
}

// sealedLog is a log of several files with footers, and its store.
func sealedLog(t *testing.T, seed uint64) (vfstest.Disk, *Store) {
	t.Helper()
	disk := newDisk()
	s := open(t, disk, large())
	a := &actor{t: t, rng: rng(seed), store: s, authors: map[int]*author{}}
	for len(s.files.Load().all) < 4 {
		a.step()
	}
	sealAll(t, s)
	return disk, s
}

// A replay by footers gives what one by batches gives.
func TestFootersTellWhatBatchesTell(t *testing.T) {
	for seed := range uint64(4) {
		disk, s := sealedLog(t, seed)
		must(t, s.Close())
		bare := disk.CrashClone(rng(1), 1)
		cut := 0
		for name, has := range footers(t, disk) {
			if has {
				rot(t, bare, name, 4*block.MiB-pageSize+30)
				cut++
			}
		}
		if cut < 3 {
			t.Fatalf("only %d footers", cut)
		}
		quick, slow := readOnly(t, disk), readOnly(t, bare)
		if got, want := describeStore(quick), describeStore(slow); got != want {
			t.Fatalf("seed %d: by footers\n%s\nby batches\n%s", seed, got, want)
		}
		_, _ = quick.Close(), slow.Close()
		for name, has := range footers(t, bare) {
			if has {
				t.Fatalf("%s has a footer still", name)
			}
		}
	}
}

// A footer that rots is no damage: the batches tell the same.
func TestRottenFooterIsPassedOver(t *testing.T) {
	disk, s := sealedLog(t, 7)
	must(t, s.Close())
	for _, back := range []block.ByteCount{1, pageSize - 40, pageSize + 100, 2*pageSize - 10} {
		for i := fileSeq(1); i <= 3; i++ {
			rot(t, disk, logName(i), 4*block.MiB-back)
		}
		r := readOnly(t, disk)
		if d := r.Damage(); len(d) > 0 {
			t.Fatalf("%d bytes before the end: %v", back, d)
		}
		must(t, r.Close())
	}
}

// Batches are read from the footer: the log's headers may rot, and nobody
// notices at opening.
func TestFootersAreUsed(t *testing.T) {
	disk, s := sealedLog(t, 3)
	must(t, s.Close())
	before := readOnly(t, disk)
	want := describeStore(before)
	must(t, before.Close())
	all, _ := batches(t, disk)
	rot(t, disk, all[3].File, all[3].Offset+70)
	after := readOnly(t, disk)
	if got := describeStore(after); got != want || len(after.Damage()) > 0 {
		t.Fatalf("damage %v", after.Damage())
	}
	must(t, after.Close())
}

// The last file is gone: the footer of the one before it says that there was
// one. All segments are suspect, and its number is not used again.
func TestT14LostLastFileIsDamage(t *testing.T) {
	disk, s := sealedLog(t, 5)
	must(t, s.Close())
	must(t, disk.Remove("/store/"+logName(4)))
	s = open(t, disk, large())
	if d := s.Damage(); len(d) != 1 || d[0].Kind != DamageFile {
		t.Fatalf("damage %v", d)
	}
	for _, g := range s.Segments() {
		if !g.State().Damaged {
			t.Fatalf("segment %v is not damaged", g.ID())
		}
	}
	if s.lastSeq <= 4 {
		t.Fatalf("file number %d is used again", s.lastSeq)
	}
	must(t, s.Close())
}

// A store that was opened in the middle of a file reads the rest of its headers
// back for the footer.
func TestFooterOfAFileThatWasReopened(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, large())
	g := create(t, s, 1)
	for round := range 3 {
		chainOf(t, g, 150)
		must(t, s.Close())
		s = open(t, disk, large())
		g = segment(t, s, 1)
		if round == 1 {
			checkpoint(t, s)
		}
	}
	for len(s.files.Load().all) < 3 {
		chainOf(t, g, 50)
	}
	sealAll(t, s)
	want := describeStore(s)
	must(t, s.Close())
	if has := footers(t, disk); !has[logName(1)] || !has[logName(2)] {
		t.Fatalf("footers: %v", has)
	}
	withoutCheckpoints(t, disk)
	r := readOnly(t, disk)
	if scl := segment(t, r, 1).SCL(); scl != g.SCL() || len(r.Damage()) > 0 {
		t.Fatalf("SCL %v, want %v, damage %v\n%s", scl, g.SCL(), r.Damage(), want)
	}
	must(t, r.Close())
}

// What a footer's decoder is given makes it fail, not fall.
func FuzzFooter(f *testing.F) {
	h := fileHeader{disk: diskA, seq: 3, kind: fileHot, nonce: 9, pages: 2048}
	p := make([]byte, pageSize)
	(&footer{end: 10, batches: 1, body: make([]byte, 64)}).encodeTrailer(p, &h)
	f.Add(p, make([]byte, 64))
	f.Fuzz(func(t *testing.T, p, body []byte) {
		if len(p) == pageSize {
			sum := sumWithout(p, 8)
			p[8], p[9], p[10], p[11] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		tr, _ := decodeTrailer(p, &h)
		file := &logFile{header: h}
		tr.body = body
		_ = tr.leadsTo(file)
		var fr frame
		for len(body) > 0 {
			var st frameState
			if body, st = fr.decodeFooter(body, file); st != frameGood {
				return
			}
		}
	})
}
