package cli

import (
	"context"
	"sort"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/volume"
)

// backend shows volumes as NBD exports: nbd and volume do not know each other.
type backend struct {
	client  *metadata.Client
	manager *volume.Manager
}

const defaultVolume = "default"

// List names all volumes.
func (b *backend) List(ctx context.Context) ([]nbd.Export, error) {
	vols, err := b.client.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	var out []nbd.Export
	for _, v := range vols {
		if !v.Deleting {
			out = append(out, export(v, v.Geometry.Size))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func export(v metadata.Volume, size block.ByteCount) nbd.Export {
	return nbd.Export{
		Name: v.Name, Description: "sextant volume of " + size.String(), Size: size,
		MinBlock: 1, PreferredBlock: block.Size,
	}
}

// Describe tells of one volume; "" is the volume called "default".
func (b *backend) Describe(ctx context.Context, name string) (nbd.Export, error) {
	if name == "" {
		name = defaultVolume
	}
	if err := block.CheckName("volume", name); err != nil {
		return nbd.Export{}, block.Wrap(block.NotFound, err, "no such export")
	}
	v, err := b.client.Volume(ctx, name)
	if err != nil {
		return nbd.Export{}, err
	}
	if v.Deleting {
		return nbd.Export{}, block.Errorf(block.NotFound, "volume %s is being deleted", name)
	}
	return export(v, v.Geometry.Size), nil
}

// Open opens a volume, or joins its other clients.
func (b *backend) Open(ctx context.Context, name string) (nbd.Device, nbd.Export, error) {
	e, err := b.Describe(ctx, name)
	if err != nil {
		return nil, nbd.Export{}, err
	}
	v, err := b.manager.Acquire(ctx, e.Name)
	if err != nil {
		return nil, nbd.Export{}, err
	}
	d := &device{name: e.Name, v: v, h: v.NewHandle(), manager: b.manager}
	return d, export(v.Info(), v.Size()), nil
}

// device is a volume as one NBD connection sees it.
type device struct {
	name    string
	v       *volume.Volume
	h       *volume.Handle
	manager *volume.Manager
}

// waiter is an NBD request as its volume sees it.
type waiter nbd.Request

func (w *waiter) Done(err error)          { (*nbd.Request)(w).CompleteLater(err) }
func (w *waiter) Flusher() volume.Flusher { return (*nbd.Request)(w).Conn() }

// Submit hands a request to the volume.
func (d *device) Submit(r *nbd.Request) {
	w := (*waiter)(r)
	switch r.Op {
	case nbd.OpRead:
		d.h.Read(r.Offset, r.Data, w)
	case nbd.OpWrite:
		d.h.Write(r.Offset, r.Data, w)
	case nbd.OpTrim:
		d.h.Trim(r.Offset, r.Length, w)
	case nbd.OpWriteZeroes:
		d.h.Zero(r.Offset, r.Length, r.NoHole, w)
	case nbd.OpBlockStatus:
		d.h.Map(r.Offset, r.Length, func(extents []volume.Extent) {
			for _, e := range extents {
				r.Extents = append(r.Extents, nbd.Extent(e))
			}
		}, w)
	case nbd.OpFlush, nbd.OpCache:
		d.h.Flush(w)
	}
}

// Kick sends off what was collected.
func (d *device) Kick() { d.h.Kick() }

// Close ends this connection's use of the volume.
func (d *device) Close() error {
	d.h.Kick()
	d.manager.Release(d.name, d.v)
	return nil
}
