package logstore

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// T29: a store of few files becomes full by plain writing from the start to the
// end, in records of any length: it says so before it refuses, cleaning packs
// what lies loosely and then rests, and a trim makes room.
func TestT29SmallStoreBecomesFull(t *testing.T) {
	for files, lengths := range map[block.ByteCount][]int{24: {1, 13, 64}, 96: {13, 64}} {
		for _, n := range lengths {
			s := open(t, newDisk(), Config{FileSize: block.MiB, Capacity: files * block.MiB})
			g := create(t, s, 1)
			p := slab.Get(n * block.Size)
			clear(p.Bytes())
			sums := make([]block.Sum, n)
			for i := range sums {
				sums[i] = block.Checksum(p.Bytes()[:block.Size])
			}
			var err error
			next := block.Index(0)
			for s.Space().Level < SpaceFull {
				l := max(g.SCL()+1, lsn(1, 1))
				r := Record{Type: TypeWrite, LSN: l, Prev: g.SCL(), Block: next, Count: block.Count(n), Sums: sums, Payload: p.Bytes()}
				if err = g.Enqueue([]Record{r}).Wait(); err != nil {
					break
				}
				must(t, g.SetFloor(g.SCL()))
				next += block.Index(n)
			}
			st := s.Stats()
			if sp := s.Space(); sp.Level != SpaceFull || st.ColdBytes > 6*st.ClientBytes {
				t.Errorf("%d files, records of %d blocks: %v after %v of clients and %v moved; %+v", files, n, err, st.ClientBytes, st.ColdBytes, sp)
			}
			l := g.SCL()
			put(t, g, trim(l+1, l, 0, block.Count(next)/2))
			must(t, g.SetFloor(g.SCL()))
			for range 2 * int(files) {
				l := g.SCL()
				put(t, g, Record{Type: TypeWrite, LSN: l + 1, Prev: l, Block: 0, Count: block.Count(n), Sums: sums, Payload: p.Bytes()})
				must(t, g.SetFloor(g.SCL()))
			}
			awaitRest(t, s)
			checkLedger(t, s)
			p.Release()
			must(t, s.Close())
		}
	}
}

// awaitRest waits until cleaning has nothing to do: it does not go on for ever.
func awaitRest(t *testing.T, s *Store) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for was := s.Stats(); ; {
		pause(s.cfg.Clock, 50*time.Millisecond, nil)
		now := s.Stats()
		if now.ColdBytes == was.ColdBytes && now.Checkpoints == was.Checkpoints {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("cleaning does not rest: %+v", now)
		}
		was = now
	}
}
