package segmentd_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd"
)

// agreeable is a metadata service that takes whoever comes.
type agreeable struct{}

func (agreeable) Register(context.Context, segmentd.Registration) (block.ClusterID, error) {
	return block.ClusterID{1}, nil
}

func (agreeable) Heartbeat(context.Context, segmentd.Report) (segmentd.Orders, error) {
	return segmentd.Orders{}, nil
}

func (agreeable) VolumeEpoch(context.Context, block.VolumeID) (block.VolumeEpoch, error) {
	return 1, nil
}

func (agreeable) Placed(context.Context, block.DiskID, segmentd.SegmentRef, block.VolumeEpoch) error {
	return nil
}

func (agreeable) Peers(context.Context, block.VolumeID, block.PGIndex) ([]segmentd.Peer, error) {
	return nil, nil
}

// A data folder that has lost its log must not come back as an empty disk
// under its old id: it has acknowledged what it does not have (R28, T13).
func TestR28FolderWithoutItsLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	start := func() error {
		s, err := segmentd.Start(t.Context(), segmentd.Config{
			Dir: dir, Zone: "a", Node: "n", Listen: "127.0.0.1:0", Registry: agreeable{}, FS: vfs.OS(), Clock: clock.Real(),
			Logger: slog.New(slog.DiscardHandler), Store: logstore.Config{FileSize: logstore.MinFileSize},
		})
		if err != nil {
			return err
		}
		return s.Close()
	}
	for range 2 { // an empty folder, and one that was used
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	logs := filepath.Join(dir, "log")
	if err := os.Rename(logs, dir+".away"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir + ".away")
	for _, empty := range []bool{false, true} {
		if empty { // as a disk that was not mounted leaves it
			if err := os.Mkdir(logs, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := start()
		if !errors.Is(err, block.Corrupt) || !strings.Contains(err.Error(), logs) {
			t.Fatalf("started without its log (an empty folder there: %v): %v", empty, err)
		}
	}
	if err := os.Remove(logs); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", logs); err != nil {
		t.Fatal(err)
	}
	if err := start(); err != nil {
		t.Fatalf("with its log back: %v", err)
	}
}
