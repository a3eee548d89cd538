package raftnode

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

// restoreMemoryMax bounds what the decompressor of a snapshot may hold.
const restoreMemoryMax = 64 << 20

// fsm is the state machine as Raft drives it, and the only door to the state
// for everybody else.
type fsm struct {
	// failed is told once, when an entry came that cannot be applied.
	failed func(error)
	clock  clock.Clock
	mu     struct {
		sync.RWMutex
		state  *state.State
		broken bool // Invariant: once true, state does not change any more
		// began is when this process got the state as it was then; opened is
		// when it has applied the last opening of volumes since. Both are of
		// the clock's Elapsed.
		began  time.Duration
		opened map[block.VolumeID]time.Duration
	}
}

// applied is what a command gives to its proposer.
type applied struct {
	state.Result
	// former, after OpenVolume, is for how long at least the epoch before had
	// been the newest: since this member applied it, or has the state.
	former time.Duration
}

func newFSM(c clock.Clock, failed func(error)) *fsm {
	f := &fsm{failed: failed, clock: c}
	f.replaceLocked(state.New())
	return f
}

func (f *fsm) replaceLocked(s *state.State) {
	f.mu.state, f.mu.began, f.mu.opened = s, f.clock.Elapsed(), make(map[block.VolumeID]time.Duration)
}

// view calls fn with the state, which fn must neither keep nor change.
func (f *fsm) view(fn func(*state.State)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	fn(f.mu.state)
}

// Apply gives an applied, to come back through the future's Response.
func (f *fsm) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.broken {
		return applied{Result: state.Result{Err: block.Errorf(block.Closed, "this metadata member has stopped")}}
	}
	r := applied{Result: f.mu.state.Apply(state.Index(l.Index), l.Data)}
	if errors.Is(r.Err, block.Corrupt) || errors.Is(r.Err, block.Version) {
		f.mu.broken = true
		f.failed(r.Err)
	}
	if r.Opened {
		r.former = f.noteOpeningLocked(r.Volume.ID)
	}
	return r
}

// noteOpeningLocked notes that a volume has a new epoch, and gives for how long it
// had the one before.
func (f *fsm) noteOpeningLocked(id block.VolumeID) time.Duration {
	now, since := f.clock.Elapsed(), f.mu.began
	if at, known := f.mu.opened[id]; known {
		since = at
	}
	f.mu.opened[id] = now
	if len(f.mu.opened) > metadata.MaxVolumes { // of deleted ones
		for id := range f.mu.opened {
			if _, err := f.mu.state.Volume(id.String()); err != nil {
				delete(f.mu.opened, id)
			}
		}
	}
	return now - since
}

// Snapshot encodes the state while no command is applied (about 10 ms for a
// volume of 128 TiB); compressing and writing come later, beside Apply.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.mu.broken {
		return nil, block.Errorf(block.Closed, "this metadata member has stopped: it takes no snapshots")
	}
	var b bytes.Buffer
	if err := f.mu.state.Snapshot(&b); err != nil {
		return nil, err
	}
	return encoded(b.Bytes()), nil
}

// Restore replaces the state with a snapshot's.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	z, err := zstd.NewReader(rc, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(restoreMemoryMax), zstd.WithDecoderMaxWindow(restoreMemoryMax))
	if err != nil {
		return block.Wrap(block.Corrupt, err, "metadata snapshot")
	}
	defer z.Close()
	restored, err := state.Restore(z)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaceLocked(restored)
	return nil
}

// encoded is a snapshot on its way to disk.
type encoded []byte

// Persist writes the snapshot, compressed.
func (e encoded) Persist(sink raft.SnapshotSink) error {
	err := e.compressTo(sink)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (e encoded) compressTo(w io.Writer) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	_, err = z.Write(e)
	return errors.Join(err, z.Close())
}

// Release has nothing to free.
func (e encoded) Release() {}
