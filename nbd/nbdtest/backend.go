package nbdtest

import (
	"context"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
)

// Backend serves memory disks. Its fields are set before it is used.
type Backend struct {
	// Exports are what there is; the first is the default export.
	Exports []nbd.Export
	// Hook, if not nil, sees each request first. When it returns true it
	// has taken the request and completes it.
	Hook func(*nbd.Request) bool
	// OnOpen, if not nil, may refuse an Open.
	OnOpen func(ctx context.Context, name string) error
	// OnList, if not nil, runs in List.
	OnList func(ctx context.Context)

	// Opened and Closed count devices; Lookups counts List and Describe.
	Opened, Closed, Lookups atomic.Int64

	disks map[string]*Disk
}

// NewBackend makes a Backend with a disk for each export.
func NewBackend(exports ...nbd.Export) *Backend {
	b := &Backend{Exports: exports, disks: make(map[string]*Disk)}
	for _, e := range exports {
		b.disks[e.Name] = NewDisk(e.Size)
	}
	return b
}

// Disk is the disk behind an export.
func (b *Backend) Disk(name string) *Disk { return b.disks[name] }

// List implements nbd.Backend.
func (b *Backend) List(ctx context.Context) ([]nbd.Export, error) {
	b.Lookups.Add(1)
	if b.OnList != nil {
		b.OnList(ctx)
	}
	return b.Exports, nil
}

// Describe implements nbd.Backend.
func (b *Backend) Describe(_ context.Context, name string) (nbd.Export, error) {
	b.Lookups.Add(1)
	return b.find(name)
}

func (b *Backend) find(name string) (nbd.Export, error) {
	for i, e := range b.Exports {
		if e.Name == name || (name == "" && i == 0) {
			return e, nil
		}
	}
	return nbd.Export{}, block.Errorf(block.NotFound, "there is no export %q", name)
}

// Open implements nbd.Backend.
func (b *Backend) Open(ctx context.Context, name string) (nbd.Device, nbd.Export, error) {
	e, err := b.find(name)
	if err == nil && b.OnOpen != nil {
		err = b.OnOpen(ctx, name)
	}
	if err != nil {
		return nil, e, err
	}
	b.Opened.Add(1)
	return &device{backend: b, disk: b.disks[e.Name]}, e, nil
}

// device is a Disk as one connection sees it.
type device struct {
	backend *Backend
	disk    *Disk
	closed  atomic.Bool
}

func (d *device) Submit(r *nbd.Request) {
	if d.closed.Load() {
		panic("nbdtest: Submit after Close")
	}
	if hook := d.backend.Hook; hook != nil && hook(r) {
		return
	}
	d.disk.Do(r)
	r.CompleteLater(nil)
}

func (d *device) Kick() {}

func (d *device) Close() error {
	if d.closed.Swap(true) {
		panic("nbdtest: Close twice")
	}
	d.backend.Closed.Add(1)
	return nil
}
