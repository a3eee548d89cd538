package cli

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd"
)

// registry lets segmentd, which does not know package metadata, speak with
// the metadata service.
type registry struct{ c *metadata.Client }

func (r registry) Register(ctx context.Context, reg segmentd.Registration) (block.ClusterID, error) {
	id := reg.Identity
	return r.c.RegisterNode(ctx, metadata.NodeRegistration{
		Node: id.Node, Zone: id.Zone, Address: reg.Address, Disk: id.Disk, Boot: id.Boot,
		Capacity: reg.Capacity, Format: id.Format, Cluster: id.Cluster,
	})
}

func (r registry) Heartbeat(ctx context.Context, rep segmentd.Report) (segmentd.Orders, error) {
	h := metadata.Heartbeat{
		Node: rep.Identity.Node, Disk: rep.Identity.Disk, Boot: rep.Identity.Boot,
		Capacity: rep.Capacity, Used: rep.Used, Live: rep.Live, Log: rep.Used, Damages: uint64(rep.Damages),
	}
	for _, s := range rep.Segments[:min(len(rep.Segments), metadata.MaxSegmentReports)] {
		h.Segments = append(h.Segments, metadata.SegmentReport{
			SegmentRef: metadata.SegmentRef(s.SegmentRef), State: s.State, Damaged: uint64(s.BadBlocks),
		})
	}
	for _, s := range rep.Dropped[:min(len(rep.Dropped), metadata.MaxDrops)] {
		h.Dropped = append(h.Dropped, metadata.SegmentRef(s))
	}
	reply, err := r.c.Heartbeat(ctx, h)
	if err != nil {
		return segmentd.Orders{}, err
	}
	var o segmentd.Orders
	for _, s := range reply.Drop {
		o.Drop = append(o.Drop, segmentd.SegmentRef(s))
	}
	return o, nil
}

func (r registry) VolumeEpoch(ctx context.Context, v block.VolumeID) (block.VolumeEpoch, error) {
	vol, err := r.c.Volume(ctx, v.String())
	return vol.Epoch, err
}
