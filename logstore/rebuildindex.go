package logstore

import (
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Rebuilt says what Rebuild found.
type Rebuilt struct {
	Segments   int             `json:"segments"`
	Files      int             `json:"files"`
	Blocks     int             `json:"blocks"` // of data that the index points to
	Live       block.ByteCount `json:"live_bytes"`
	Damage     []Damage        `json:"damage"`
	Damaged    []string        `json:"damaged_segments"` // to be mended from peers, since before
	Generation uint32          `json:"checkpoint"`       // that was written
	Took       time.Duration   `json:"took_ns"`
}

// Rebuild makes the index of the log in dir anew from the log alone, whatever the
// checkpoints say, and writes a checkpoint of it. No daemon may have it open.
// Where the log is damaged the checkpoints know more than it, if there are any:
// then nothing is written. Error kinds: those of Open, Corrupt (the log is
// damaged).
func Rebuild(fsys vfs.FS, dir string, disk block.DiskID, cfg Config) (sum Rebuilt, err error) {
	if there, err := Present(fsys, dir); err != nil || !there {
		return sum, block.Wrap(block.NotFound, err, "there is no log in %s", dir)
	}
	cfg.fromLog, cfg.ReadOnly = true, true
	sum, err = rebuildOnce(fsys, dir, disk, cfg)
	if err != nil || len(sum.Damage) > 0 {
		if err == nil {
			err = block.Errorf(block.Corrupt, "the log in %s is damaged in %d places, the first is: %v; its checkpoints were left as they are: start the daemon, it mends what it can from its peers",
				dir, len(sum.Damage), sum.Damage[0])
		}
		return sum, err
	}
	cfg.ReadOnly = false
	return rebuildOnce(fsys, dir, disk, cfg)
}

// rebuildOnce opens the log without its checkpoints, and writes one if it may.
func rebuildOnce(fsys vfs.FS, dir string, disk block.DiskID, cfg Config) (sum Rebuilt, err error) {
	cfg.byHand = true
	ticks := cfg.Clock
	if ticks == nil {
		ticks = clock.Real()
	}
	start := ticks.Now()
	s, err := Open(fsys, dir, disk, cfg)
	if err != nil {
		return sum, err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	sum = s.rebuiltAs()
	if !cfg.ReadOnly {
		err = s.ckpt.now()
		sum.Generation = uint32(s.ckpt.durable())
	}
	sum.Took = ticks.Now().Sub(start)
	return sum, err
}

func (s *Store) rebuiltAs() (sum Rebuilt) {
	sum.Files = len(s.files.Load().all)
	sum.Blocks = int(s.ledger.total.Load())
	sum.Live = block.ByteCount(sum.Blocks) * block.Size
	for _, g := range s.Segments() {
		sum.Segments++
		if g.State().Damaged {
			sum.Damaged = append(sum.Damaged, g.ID().String())
		}
	}
	sum.Damage = slices.DeleteFunc(s.Damage(), func(d Damage) bool {
		return d.Kind == DamageHeader || d.Kind == DamageCheckpoint // the other copy is whole; nothing was read of it
	})
	return sum
}
