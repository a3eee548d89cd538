package metadata

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// NewSegmentID makes an id for a segment to be placed.
func NewSegmentID() block.SegmentID { return block.SegmentID(randomUUID()) }

// ReplaceSegment begins to replace a segment of a group: from now on two
// quorum sets are in force, with the old segment and with the new one (R25).
// The volume's gateway, the one that is there or the next, brings the change
// to its end. Error kinds: NotFound; Held: a change of this group is under
// way; Unavailable: no node can take it, the message says why, or the volume is
// being opened; Invalid; NoSpace; Stale: it was changed meanwhile.
func (c *Client) ReplaceSegment(ctx context.Context, r ReplaceRequest) (PGConfig, error) {
	if r.Joining.IsZero() {
		r.Joining = NewSegmentID()
	}
	return onlyPG(call(ctx, c, pb.MetadataClient.ReplaceSegment, &pb.ReplaceSegmentRequest{
		Volume: r.Volume, Pg: uint32(r.PG), Leaving: r.Leaving, To: string(r.To), Joining: IDToPB(r.Joining),
	}))
}

// ReduceGroup begins to give up the copies of a group in a zone that is lost for
// long, so that fewer of the others are a write quorum (R29): 3 of 4 copies instead
// of all four that are left of six. The volume's gateway brings it to its end. A
// group that is so, or about to be, stays as it is. Error kinds: those of
// ReplaceSegment, but that nothing is placed; NotFound: also when it has no copy
// in that zone; Invalid: nothing would be gained.
func (c *Client) ReduceGroup(ctx context.Context, volume string, pg block.PGIndex, zone block.Zone) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.ReduceGroup, &pb.ReduceGroupRequest{Volume: volume, Pg: uint32(pg), Zone: string(zone)}))
}

// RestoreGroup begins to take the copies back that a group goes on without: they
// count again when they have caught up (R29). A group that is whole, or about to
// be, stays as it is. Error kinds: those of ReduceGroup.
func (c *Client) RestoreGroup(ctx context.Context, volume string, pg block.PGIndex) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.RestoreGroup, &pb.RestoreGroupRequest{Volume: volume, Pg: uint32(pg)}))
}

// MarkHydrated tells that the new segments of a change have all that was
// acknowledged before (R25). It is the owner's call, as FinishChange is. Error
// kinds: NotFound: also when no change is under way; Fenced; Stale;
// Unavailable: the volume is being opened.
func (c *Client) MarkHydrated(ctx context.Context, r ChangeRef) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.MarkHydrated, changeRefToPB(r)))
}

// FinishChange leaves the new set alone in force, for which the owner has the
// proof (R26). Error kinds: those of MarkHydrated; Behind: a new segment is
// not marked hydrated.
func (c *Client) FinishChange(ctx context.Context, r ChangeRef) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.FinishChange, changeRefToPB(r)))
}

// CancelChange goes back to the old set; a segment that was to take another's
// place is dropped, those of a zone are out again (R29). Anybody
// may call it. Error kinds: NotFound: also when no change is under way; Stale;
// Unavailable: the volume is being opened.
func (c *Client) CancelChange(ctx context.Context, r ChangeRef) (PGConfig, error) {
	return onlyPG(call(ctx, c, pb.MetadataClient.CancelChange, changeRefToPB(r)))
}
