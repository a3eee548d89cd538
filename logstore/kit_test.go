package logstore

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/timerslack"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		// As segment daemons do: else the runtime's monitor wakes up in each flush.
		if err := timerslack.Widen(daemonSlack); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks will be slower:", err)
		}
	}
	goleak.VerifyTestMain(m)
}

// daemonSlack is what main gives segment daemons.
const daemonSlack = 5 * time.Millisecond

// The vocabulary of this package's tests.

var (
	diskA = block.DiskID{1: 0xa}
	diskB = block.DiskID{1: 0xb}
)

func segID(n int) block.SegmentID { return block.SegmentID{0: 1, 15: byte(n)} }

func lsn(e block.VolumeEpoch, s block.Seq) block.LSN { return block.MakeLSN(e, s) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, k block.Kind) {
	t.Helper()
	if block.KindOf(err) != k || err == nil {
		t.Fatalf("got error %v (%v), want kind %v", err, block.KindOf(err), k)
	}
}

// small is a store of tiny files, for tests that cross their borders. Its
// clock stands still: no SYNCMARK is written but by mark and Close. It takes
// no checkpoint by itself.
func small() Config {
	return Config{FileSize: 128 * block.KiB, Spares: -1, MaxBatchBytes: block.MaxRecordBytes, CheckpointEvery: NoCheckpoints, Clock: clock.NewFake(time.Time{}), byHand: true}
}

func open(t testing.TB, fs vfs.FS, cfg Config) *Store {
	t.Helper()
	s, err := Open(fs, "/store", diskA, cfg)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// stamp is n blocks whose content tells the LSN and the block.
func stamp(l block.LSN, first block.Index, n int) []byte {
	p := slab.Get(n * block.Size).Bytes()
	for i := range n {
		b := p[i*block.Size : (i+1)*block.Size]
		clear(b)
		binary.LittleEndian.PutUint64(b, uint64(l))
		binary.LittleEndian.PutUint64(b[8:], uint64(first)+uint64(i))
		binary.LittleEndian.PutUint64(b[block.Size-8:], uint64(l)^uint64(first))
	}
	return p
}

func write(l, prev block.LSN, first block.Index, n int) Record {
	r := Record{Type: TypeWrite, LSN: l, Prev: prev, Block: first, Count: block.Count(n), Payload: stamp(l, first, n)}
	for i := range n {
		r.Sums = append(r.Sums, block.Checksum(r.Payload[i*block.Size:(i+1)*block.Size]))
	}
	return r
}

func zero(l, prev block.LSN, first block.Index, n block.Count) Record {
	return Record{Type: TypeZero, LSN: l, Prev: prev, Block: first, Count: n}
}

func trim(l, prev block.LSN, first block.Index, n block.Count) Record {
	return Record{Type: TypeTrim, LSN: l, Prev: prev, Block: first, Count: n}
}

func epochOpen(l, prev block.LSN) Record { return Record{Type: TypeEpochOpen, LSN: l, Prev: prev} }

func put(t testing.TB, g *Segment, recs ...Record) {
	t.Helper()
	must(t, g.Enqueue(recs).Wait())
}

func create(t testing.TB, s *Store, n int) *Segment {
	t.Helper()
	g, err := s.CreateSegment(segID(n), 1, []byte(fmt.Sprintf("segment %d", n)))
	must(t, err)
	return g
}

func segment(t testing.TB, s *Store, n int) *Segment {
	t.Helper()
	g, ok := s.Segment(segID(n))
	if !ok {
		t.Fatalf("segment %d is gone", n)
	}
	return g
}

// owner tells which LSN wrote a block as of at, 0 for zeroes, and fails the
// test if the content is not what that LSN wrote.
func owner(t testing.TB, g *Segment, at block.LSN, b block.Index) block.LSN {
	t.Helper()
	r := ReadResult{Buf: make([]byte, block.Size)}
	must(t, g.ReadAt(at, b, 1, &r))
	return ownerOf(t, &r, b)
}

func ownerOf(t testing.TB, r *ReadResult, b block.Index) block.LSN {
	t.Helper()
	if len(r.Sums) == 0 {
		return 0
	}
	p := r.Data()
	if got := block.Index(binary.LittleEndian.Uint64(p[8:])); got != b {
		t.Fatalf("block %d holds the bytes of block %d", b, got)
	}
	return block.LSN(binary.LittleEndian.Uint64(p))
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 2)) }

// newDisk is a disk on which a store can be opened: in memory, or on ext4 when
// the package's tests run once more there (TestAllOnExt4).
func newDisk() vfstest.Disk {
	if *onExt4 {
		return vfstest.OnExt4()
	}
	return vfstest.Memory(0)
}

var onExt4 = flag.Bool("ext4", false, "run the tests on ext4 in a loop file instead of memory")

// crash is the disk after a power cut that loses all it may.
func crash(fs vfstest.Disk) vfstest.Disk { return fs.CrashClone(rng(1), 0) }

// batches lists the batches of the log on a disk that nobody has open.
func batches(t testing.TB, fs vfs.FS) (all []BatchInfo, sum LogSummary) {
	t.Helper()
	sum, err := Inspect(fs, "/store", Inspector{Batch: func(b BatchInfo) error {
		all = append(all, b)
		return nil
	}})
	must(t, err)
	return all, sum
}

// rot flips a bit of the log.
func rot(t testing.TB, fs vfstest.Disk, file string, at block.ByteCount) {
	t.Helper()
	if !fs.Damage("/store/"+file, int(at), 0x10) {
		t.Fatalf("%s has no byte %d\n%s", file, at, fs.Describe())
	}
}

// chainOf writes n one-block records after the segment's SCL, a batch each.
func chainOf(t testing.TB, g *Segment, n int) {
	t.Helper()
	for range n {
		prev := g.SCL()
		l := max(prev+1, lsn(1, 1))
		put(t, g, write(l, prev, block.Index(l.Seq()), 1))
	}
}
