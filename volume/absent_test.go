package volume_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// cutOff is a metadata service that can be out of reach. Its volume has no
// placed group.
type cutOff struct {
	noChanges
	mu      sync.Mutex
	away    bool
	renewed chan struct{} // has a token after each renewal, answered or not
}

// noChanges is a metadata service that changes no group.
type noChanges struct{}

func (noChanges) PG(context.Context, string, block.VolumeEpoch, block.PGIndex) (metadata.PGConfig, error) {
	return metadata.PGConfig{}, block.Errorf(block.NotFound, "no group is placed")
}

func (noChanges) MarkHydrated(context.Context, metadata.ChangeRef) (metadata.PGConfig, error) {
	return metadata.PGConfig{}, block.Errorf(block.NotFound, "no change is under way")
}

func (noChanges) FinishChange(context.Context, metadata.ChangeRef) (metadata.PGConfig, error) {
	return metadata.PGConfig{}, block.Errorf(block.NotFound, "no change is under way")
}

func (m *cutOff) OpenVolume(context.Context, metadata.OpenRequest) (metadata.Opened, error) {
	return metadata.Opened{Volume: metadata.Volume{
		Name: "v", Epoch: 7, Geometry: block.Geometry{Size: block.GiB, PGSize: 64 * block.MiB}, Quorum: metadata.DefaultQuorum,
	}}, nil
}

func (m *cutOff) RenewLease(context.Context, metadata.LeaseReport) (metadata.LeaseReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		select {
		case m.renewed <- struct{}{}:
		default:
		}
	}()
	if m.away {
		return metadata.LeaseReply{}, block.Errorf(block.Unavailable, "cut off")
	}
	return metadata.LeaseReply{Size: block.GiB}, nil
}

func (m *cutOff) setAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

func (m *cutOff) OpenDone(context.Context, block.VolumeID, block.VolumeEpoch, []block.PGIndex) error {
	return nil
}

func (m *cutOff) CloseVolume(context.Context, metadata.CloseRequest) error { return nil }
func (m *cutOff) EnsurePG(context.Context, block.VolumeID, block.VolumeEpoch, block.PGIndex) (metadata.PGConfig, error) {
	return metadata.PGConfig{}, block.Errorf(block.Unavailable, "cut off")
}

// told is a Waiter whose end can be looked at.
type told struct{ done chan error }

func newTold() told                  { return told{make(chan error, 1)} }
func (w told) Done(err error)        { w.done <- err }
func (told) Flusher() volume.Flusher { return noFlush{} }
func (w told) pending(t *testing.T, what string) {
	t.Helper()
	select {
	case err := <-w.done:
		t.Errorf("%s ended (%v) though nobody has confirmed for longer than a lease that the range is empty", what, err)
	default:
	}
}

type noFlush struct{}

func (noFlush) Flush() {}

// A gateway that is cut off from the metadata service cannot know whether a
// successor has written where it knows of nothing: past its lease it must
// neither read zeroes there, nor call it a hole, nor acknowledge that it has
// zeroed it (R14, T6).
func TestR14NothingIsEmptyPastTheLease(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	fake := clock.NewFake(time.Time{})
	m := &cutOff{renewed: make(chan struct{}, 1)}
	log := slog.New(slog.DiscardHandler)
	pool := volume.NewPool(volume.PoolConfig{Name: "test", Clock: fake, Logger: log})
	defer pool.Close()
	v, err := volume.Open(ctx, "v", volume.Config{Pool: pool, Metadata: m, Gateway: "g", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	h := v.NewHandle()
	start := func() (ops map[string]told, data *slab.Buffer) {
		data = slab.Get(block.Size)
		data.Bytes()[0] = 0xff
		ops = map[string]told{"read": newTold(), "map": newTold(), "zero": newTold()}
		h.Read(0, data, ops["read"])
		h.Map(0, block.MiB, func([]volume.Extent) {}, ops["map"])
		h.Zero(0, block.MiB, false, ops["zero"])
		h.Kick()
		return ops, data
	}
	await := func(ops map[string]told, want error) {
		t.Helper()
		for what, op := range ops {
			select {
			case err := <-op.done:
				if !errors.Is(err, want) {
					t.Errorf("%s ended with %v, want %v", what, err, want)
				}
			case <-ctx.Done():
				t.Fatalf("%s did not end", what)
			}
		}
	}
	advance := func(d time.Duration) {
		t.Helper()
		if err := fake.AwaitRunning(ctx, 3); err != nil { // hedging, clock, lease
			t.Fatal(err)
		}
		fake.Advance(d)
		select {
		case <-m.renewed:
		case <-ctx.Done():
			t.Fatal("the lease is not renewed any more")
		}
	}
	advance(0) // the renewal that follows the opening
	ops, data := start()
	await(ops, nil)
	if data.Bytes()[0] != 0 {
		t.Error("what was never written does not read as zeroes")
	}
	data.Release()

	m.setAway(true)
	for range int(quorum.LeaseTerm/metadata.RenewEvery) + 1 {
		advance(metadata.RenewEvery)
	}
	ops, data = start()
	for what, op := range ops {
		op.pending(t, what)
	}
	m.setAway(false)
	advance(metadata.RenewEvery)
	await(ops, nil)
	if data.Bytes()[0] != 0 {
		t.Error("what was never written does not read as zeroes once that is confirmed")
	}
	data.Release()

	m.setAway(true)
	for range int(quorum.LeaseTerm/metadata.RenewEvery) + 1 {
		advance(metadata.RenewEvery)
	}
	ops, data = start()
	for range int(volume.DefaultHold/metadata.RenewEvery) + 1 {
		advance(metadata.RenewEvery)
	}
	await(ops, block.Unavailable) // held for the hold time, then failed (B5)
	data.Release()
}
