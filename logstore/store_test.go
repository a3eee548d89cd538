package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

func TestWriteReadReopen(t *testing.T) {
	vfstest.Each(t, func(t *testing.T, fs vfs.FS, dir string) {
		s, err := Open(fs, dir, diskA, small())
		must(t, err)
		g := create(t, s, 1)
		prev := block.LSN(0)
		for i := 1; i <= 100; i++ {
			l := lsn(1, block.Seq(i))
			put(t, g, write(l, prev, block.Index(i%10), 1+i%3))
			prev = l
			if got := owner(t, g, l, block.Index(i%10)); got != l {
				t.Fatalf("block %d as of %v is of %v", i%10, l, got)
			}
		}
		before := g.State()
		must(t, s.Close())
		s, err = Open(fs, dir, diskA, small())
		must(t, err)
		g = segment(t, s, 1)
		after := g.State()
		if after.SCL != before.SCL || after.SCL != prev || string(after.Config) != "segment 1" || after.Promised != 1 || after.Damaged {
			t.Fatalf("state after reopening %+v, before %+v", after, before)
		}
		for i := 91; i <= 100; i++ {
			if got := owner(t, g, prev, block.Index(i%10)); got < lsn(1, block.Seq(i-2)) {
				t.Fatalf("block %d is of %v", i%10, got)
			}
		}
		if d := s.Damage(); len(d) != 0 {
			t.Fatalf("damage on a good disk: %v", d)
		}
		must(t, s.Close())
	})
}
