package metadata

import (
	"context"
	"crypto/rand"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// NewVolumeID makes an id for a volume to be created.
func NewVolumeID() block.VolumeID { return block.VolumeID(randomUUID()) }

// randomUUID is an RFC 9562 UUID of version 4.
func randomUUID() (id [16]byte) {
	rand.Read(id[:]) // never fails (crypto/rand)
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// CreateVolume makes a volume; nothing is placed until it is written to.
// Error kinds: Invalid; Exists: another volume has the name; Unavailable:
// the nodes that are there could not take its copies (see
// VolumeSpec.AllowUnplaceable); NoSpace: there are too many volumes.
func (c *Client) CreateVolume(ctx context.Context, s VolumeSpec) (Volume, error) {
	if s.ID.IsZero() {
		s.ID = NewVolumeID()
	}
	if err := s.Check(); err != nil {
		return Volume{}, err
	}
	return volumeOf(call(ctx, c, pb.MetadataClient.CreateVolume, specToPB(s)))
}

// Volumes lists all volumes by name, those being deleted last.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	reply, err := call(ctx, c, pb.MetadataClient.ListVolumes, &pb.ListVolumesRequest{})
	if err != nil {
		return nil, err
	}
	return tried(reply.GetVolumes(), volumeFromPB)
}

// Volume tells of one volume, given by name or by id in its printed form.
// Error kind: NotFound.
func (c *Client) Volume(ctx context.Context, nameOrID string) (Volume, error) {
	return volumeOf(call(ctx, c, pb.MetadataClient.GetVolume, &pb.GetVolumeRequest{Volume: nameOrID}))
}

// ResizeVolume makes a volume larger; its gateway learns of it with its next
// lease renewal. Error kinds: NotFound; Invalid: also for a smaller size.
func (c *Client) ResizeVolume(ctx context.Context, nameOrID string, size block.ByteCount) (Volume, error) {
	return volumeOf(call(ctx, c, pb.MetadataClient.ResizeVolume, &pb.ResizeVolumeRequest{Volume: nameOrID, Size: uint64(size)}))
}

// DeleteVolume frees the name at once and has all segments dropped. Error
// kinds: NotFound; Held: a gateway's lease is alive and force is not given.
func (c *Client) DeleteVolume(ctx context.Context, nameOrID string, force bool) error {
	_, err := call(ctx, c, pb.MetadataClient.DeleteVolume, &pb.DeleteVolumeRequest{Volume: nameOrID, Force: force})
	return err
}

func volumeOf(reply *pb.VolumeReply, err error) (Volume, error) {
	if err != nil {
		return Volume{}, err
	}
	return volumeFromPB(reply.GetVolume())
}
