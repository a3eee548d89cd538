package metadata

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// Status tells how the whole cluster does and what to do about it.
func (c *Client) Status(ctx context.Context) (Status, error) {
	reply, err := call(ctx, c, pb.MetadataClient.Status, &pb.StatusRequest{})
	if err != nil {
		return Status{}, err
	}
	return statusFromPB(reply)
}

// ClusterInfo tells the cluster's id and members, as far as the member that
// answers knows; it needs no leader.
func (c *Client) ClusterInfo(ctx context.Context) (ClusterInfo, error) {
	reply, err := call(ctx, c, pb.MetadataClient.ClusterInfo, &pb.ClusterInfoRequest{})
	if err != nil {
		return ClusterInfo{}, err
	}
	return clusterInfoFromPB(reply)
}

// JoinRequest asks to be a member, or tells a member's new addresses.
type JoinRequest struct {
	Member  Member
	Cluster block.ClusterID // of its data folder
	Format  uint32          // of its data folder
	// Again: the folder was a member's before. If the member was removed
	// since, it is not made one anew.
	Again bool
}

// Join makes a member a voter, or tells its new addresses. It is called by a
// member that starts. Error kinds: Invalid; Mismatch: the folder is of
// another cluster, or the member had another folder before; Exists: there
// are MaxMembers already; NotFound: it was removed; Version.
func (c *Client) Join(ctx context.Context, r JoinRequest) error {
	_, err := call(ctx, c, pb.MetadataClient.Join, &pb.JoinRequest{
		Member: MemberToPB(r.Member), Cluster: IDToPB(r.Cluster), Format: r.Format, Again: r.Again,
	})
	return err
}

// RemoveMember takes a member out of the metadata service. Error kinds:
// NotFound; Invalid: it is the only one.
func (c *Client) RemoveMember(ctx context.Context, id MemberID) error {
	_, err := call(ctx, c, pb.MetadataClient.RemoveMember, &pb.RemoveMemberRequest{Id: string(id)})
	return err
}
