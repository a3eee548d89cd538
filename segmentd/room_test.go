package segmentd_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd"
)

// fill takes all that is left of the disk, in ever smaller pieces.
func fill(t *testing.T, fsys vfs.FS, name string) {
	t.Helper()
	f, err := fsys.OpenFile(name, vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := vfs.Offset(0)
	for piece := 1 << 20; piece > 0; piece /= 2 {
		for f.WritevAt([][]byte{make([]byte, piece)}, at) == nil {
			at += vfs.Offset(piece)
		}
	}
}

// A daemon starts on a full disk as often as it must, because what it holds
// can still be read (S3), and counts each start (R28).
func TestStartOnFullDisk(t *testing.T) {
	disk := memfs.New(4 * block.MiB)
	start := func() *segmentd.Server {
		s, err := segmentd.Start(t.Context(), segmentd.Config{
			Dir: "data", Zone: "a", Node: "n", Listen: "127.0.0.1:0", Registry: agreeable{}, FS: disk, Clock: clock.Real(),
			Logger: slog.New(slog.DiscardHandler), Store: logstore.Config{FileSize: 256 * block.KiB},
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	first := s.Identity().Boot
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, disk, "others")
	for i := range 3 {
		s := start()
		if got, want := s.Identity().Boot, first+block.Boot(i)+1; got != want {
			t.Errorf("start %d has boot number %d, want %d", i, got, want)
		}
		if err := s.Store().Failed(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := disk.OpenFile("more", vfs.Create); err != nil {
		t.Fatal(err)
	} else if err := f.WritevAt([][]byte{make([]byte, 64<<10)}, 0); err == nil || errors.Is(err, vfs.ErrLocked) {
		t.Error("the disk was not full")
	}
}
