package cli

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
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
		Capacity: rep.Capacity, Used: rep.Used, Live: rep.Space.Live, Log: rep.Log, Damages: uint64(rep.Damages),
		Health: diskHealth(&rep),
	}
	for _, s := range rep.Segments[:min(len(rep.Segments), metadata.MaxSegmentReports)] {
		h.Segments = append(h.Segments, metadata.SegmentReport{
			SegmentRef: metadata.SegmentRef(s.SegmentRef), State: s.State, Lag: s.Pull.Left, Damaged: uint64(s.BadBlocks),
			Rate: s.Pull.Rate, Ends: s.Pull.Ends,
		})
	}
	for _, s := range rep.Dropped[:min(len(rep.Dropped), metadata.MaxDrops)] {
		h.Dropped = append(h.Dropped, metadata.SegmentRef(s))
	}
	reply, err := r.c.Heartbeat(ctx, h)
	if err != nil {
		return segmentd.Orders{}, err
	}
	o := segmentd.Orders{Scrub: reply.Scrub}
	for _, s := range reply.Drop {
		o.Drop = append(o.Drop, segmentd.SegmentRef(s))
	}
	return o, nil
}

// fullness translates the levels of a log.
var fullness = [...]metadata.Fullness{
	logstore.SpaceOK: metadata.RoomForAll, logstore.SpaceNoSegments: metadata.NoNewSegments,
	logstore.SpaceWarn: metadata.NearlyFull, logstore.SpaceFull: metadata.DiskFull,
}

func diskHealth(r *segmentd.Report) metadata.DiskHealth {
	s := &r.Scrub
	p, pulls := r.Pulls()
	return metadata.DiskHealth{
		Folder: r.Folder, Failed: r.Failed, Dead: r.Space.Dead, Reserved: r.Space.Reserved, Free: r.Space.Free,
		Fullness: fullness[r.Space.Level], IndexBlocks: r.IndexBlocks, IndexBytes: r.IndexBytes,
		Stalls: r.Stalls, LongestFlush: r.LongestFlush, Unmended: r.Unmended,
		Scrub: metadata.Scrub{
			Running: s.Running, Done: s.Done, Total: s.Done + s.Left, Found: s.Found, Mended: r.Mended, Passes: s.Passes,
			Began: s.Began, Ended: s.Ended, Next: s.Next,
		},
		Pulls: metadata.Pulls{Segments: pulls, Records: p.Records, Leaves: p.Leaves, Left: p.Left, Rate: p.Rate, Ends: p.Ends},
	}
}

func (r registry) Placed(ctx context.Context, disk block.DiskID, ref segmentd.SegmentRef, epoch block.VolumeEpoch) error {
	cfg, err := r.c.PG(ctx, ref.Volume.String(), epoch, ref.PG)
	if err != nil {
		return err
	}
	for _, s := range cfg.Segments {
		if s.ID == ref.Segment && s.Disk == disk {
			return nil
		}
	}
	return block.Errorf(block.NotFound, "volume %v, group %v: segment %v is not one of its copies on disk %v", ref.Volume, ref.PG, ref.Segment, disk)
}

func (r registry) Peers(ctx context.Context, v block.VolumeID, pg block.PGIndex) ([]segmentd.Peer, error) {
	cfg, err := r.c.PG(ctx, v.String(), 0, pg)
	if err != nil {
		return nil, err
	}
	var peers []segmentd.Peer
	for _, s := range cfg.Segments {
		peers = append(peers, segmentd.Peer{Segment: s.ID, Node: s.Node, Disk: s.Disk, Address: s.Address})
	}
	return peers, nil
}

func (r registry) VolumeEpoch(ctx context.Context, v block.VolumeID) (block.VolumeEpoch, error) {
	vol, err := r.c.Volume(ctx, v.String())
	return vol.Epoch, err
}
