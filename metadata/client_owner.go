package metadata

import (
	"context"
	"math"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// OpenVolume gives the volume its next epoch, agreed through Raft (R4), and
// makes the caller its owner. The caller then fences and recovers
// (protocol §2.5), calls OpenDone, and renews its lease each RenewEvery from
// now on. While another gateway's lease is alive it waits to see, for LeaseFor
// at most: if that gateway renews its lease it lives; if not, it is dead and the
// volume is the caller's. Error kinds: NotFound; Held: another gateway has it
// and lives; Fenced: others open it over and over.
func (c *Client) OpenVolume(ctx context.Context, r OpenRequest) (Opened, error) {
	if err := block.CheckName("gateway", string(r.Gateway)); err != nil {
		return Opened{}, err
	}
	reply, err := call(ctx, c, pb.MetadataClient.OpenVolume, &pb.OpenVolumeRequest{
		Volume: r.Volume, Gateway: string(r.Gateway), Description: r.Description, Takeover: r.Takeover,
	})
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{CleanHandover: reply.GetCleanHandover(), FormerFor: time.Duration(min(reply.GetFormerForNs(), math.MaxInt64))}
	if opened.Volume, err = volumeFromPB(reply.GetVolume()); err != nil {
		return Opened{}, err
	}
	opened.PGs, err = c.AllPGs(ctx, opened.Volume.ID.String(), opened.Volume.Epoch)
	return opened, err
}

// OpenDone tells that EPOCH_OPEN has reached its quorums in all groups but those
// unopened, at most MaxUnopened: the others' configurations may change again. It
// may be called again with fewer. Error kinds: NotFound, Fenced, Invalid.
func (c *Client) OpenDone(ctx context.Context, volume block.VolumeID, epoch block.VolumeEpoch, unopened []block.PGIndex) error {
	_, err := call(ctx, c, pb.MetadataClient.OpenDone, &pb.OpenDoneRequest{
		Volume: IDToPB(volume), Epoch: uint32(epoch), Unopened: mapped(unopened, func(i block.PGIndex) uint32 { return uint32(i) }),
	})
	return err
}

// CloseVolume says goodbye (R14). Error kinds: NotFound, Fenced.
func (c *Client) CloseVolume(ctx context.Context, r CloseRequest) error {
	_, err := call(ctx, c, pb.MetadataClient.CloseVolume, &pb.CloseVolumeRequest{
		Volume: IDToPB(r.Volume), Epoch: uint32(r.Epoch), Clean: r.ReadLeasesExpired,
	})
	return err
}

// RenewLease keeps a volume and tells how it does. Error kinds: NotFound:
// the volume was deleted; Fenced: somebody else has opened it, the caller is
// dead (R3).
func (c *Client) RenewLease(ctx context.Context, r LeaseReport) (LeaseReply, error) {
	reply, err := call(ctx, c, pb.MetadataClient.RenewLease, leaseReportToPB(r))
	if err != nil {
		return LeaseReply{}, err
	}
	return LeaseReply{
		Size: block.ByteCount(reply.GetSize()), Version: ConfigVersion(reply.GetVersion()), Changing: mapped(reply.GetChanging(), membershipFromPB),
	}, nil
}

// EnsurePG places a protection group if it is not placed yet, and tells
// where it is. Error kinds: NotFound; Invalid: the volume is not that large;
// Fenced: epoch is not the volume's; Unavailable: nodes or zones are
// missing, the message says which (it comes at once: the caller decides how
// long it holds its writes); NoSpace: all nodes are too full.
func (c *Client) EnsurePG(ctx context.Context, volume block.VolumeID, epoch block.VolumeEpoch, index block.PGIndex) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.EnsurePG, &pb.EnsurePGRequest{Volume: IDToPB(volume), Epoch: uint32(epoch), Pg: uint32(index)}))
}

// PG tells where a protection group is. If epoch is not 0 it must be the
// volume's (R3). Error kinds: NotFound: also when it is not placed yet;
// Fenced.
func (c *Client) PG(ctx context.Context, nameOrID string, epoch block.VolumeEpoch, index block.PGIndex) (PGConfig, error) {
	page, err := c.PGs(ctx, nameOrID, epoch, index, 1)
	if err != nil {
		return PGConfig{}, err
	}
	if len(page.PGs) == 0 || page.PGs[0].Index != index {
		return PGConfig{}, block.Errorf(block.NotFound, "volume %s: group %v is not placed: nothing was written there", nameOrID, index)
	}
	return page.PGs[0], nil
}

// PGs lists protection groups that are placed, from the index from on, at
// most limit (up to MaxPGPage). If epoch is not 0 it must be the volume's
// (R3). Error kinds: NotFound, Fenced.
func (c *Client) PGs(ctx context.Context, nameOrID string, epoch block.VolumeEpoch, from block.PGIndex, limit int) (PGPage, error) {
	if limit < 1 || limit > MaxPGPage {
		return PGPage{}, block.Errorf(block.Invalid, "a page of %d groups is not within 1 to %d", limit, MaxPGPage)
	}
	reply, err := call(ctx, c, pb.MetadataClient.ListPGs, &pb.ListPGsRequest{
		Volume: nameOrID, Epoch: uint32(epoch), From: uint32(from), Limit: uint32(limit),
	})
	if err != nil {
		return PGPage{}, err
	}
	return pgPageFromPB(reply)
}

// AllPGs lists all protection groups that are placed. If epoch is not 0 it
// must be the volume's, on every page (R3). Error kinds: NotFound, Fenced.
func (c *Client) AllPGs(ctx context.Context, nameOrID string, epoch block.VolumeEpoch) ([]PGConfig, error) {
	var all []PGConfig
	for from := block.PGIndex(0); ; {
		page, err := c.PGs(ctx, nameOrID, epoch, from, MaxPGPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page.PGs...)
		if !page.More || page.Next <= from {
			return all, nil
		}
		from = page.Next
	}
}

func onlyPG(reply *pb.PGsReply, err error) (PGConfig, error) {
	if err != nil {
		return PGConfig{}, err
	}
	page, err := pgPageFromPB(reply)
	if err != nil {
		return PGConfig{}, err
	}
	if len(page.PGs) != 1 {
		return PGConfig{}, block.Errorf(block.Unknown, "metadata service: answered %d groups, not 1", len(page.PGs))
	}
	return page.PGs[0], nil
}
