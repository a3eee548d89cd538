package metadata

import (
	"context"

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

// Join makes a member a voter, or tells its new addresses. cluster and
// format are those of its data folder. It is called by a member that starts.
// Error kinds: Invalid; Mismatch: the folder is of another cluster, or the
// member had another folder before; Exists: there are MaxMembers already;
// Version.
func (c *Client) Join(ctx context.Context, m Member, of ClusterInfo) error {
	_, err := call(ctx, c, pb.MetadataClient.Join, &pb.JoinRequest{Member: MemberToPB(m), Cluster: IDToPB(of.Cluster), Format: of.Format})
	return err
}

// RemoveMember takes a member out of the metadata service. Error kinds:
// NotFound; Invalid: it is the only one.
func (c *Client) RemoveMember(ctx context.Context, id MemberID) error {
	_, err := call(ctx, c, pb.MetadataClient.RemoveMember, &pb.RemoveMemberRequest{Id: string(id)})
	return err
}
