package state

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

func (s *State) createVolume(c *pb.CreateVolume) Result {
	spec, err := metadata.SpecFromPB(&pb.CreateVolumeRequest{
		Id: c.GetId(), Name: c.GetName(), Size: c.GetSize(), PgSize: c.GetPgSize(),
		Copies: c.GetCopies(), WriteQuorum: c.GetWriteQuorum(), ReadQuorum: c.GetReadQuorum(),
	})
	if err != nil {
		return refused(err)
	}
	if same := s.volumes[spec.ID]; same != nil && same.madeFrom(spec) {
		return Result{Volume: s.viewVolume(same)} // the same request again
	}
	if err := s.MayCreate(spec); err != nil {
		return refused(err)
	}
	v := &volume{
		id: spec.ID, name: spec.Name, geometry: spec.Geometry, quorum: spec.Quorum,
		open: metadata.Closed, clean: true, createdNs: c.GetCreatedNs(), version: 1,
	}
	s.volumes[v.id], s.names[v.name] = v, v
	return Result{Volume: s.viewVolume(v)}
}

func (v *volume) madeFrom(spec metadata.VolumeSpec) bool {
	return v.name == spec.Name && v.geometry == spec.Geometry && v.quorum == spec.Quorum && !v.deleting
}

// MayCreate says whether a volume may be made. Error kinds: Exists, NoSpace.
// A spec that was carried out already may be again.
func (s *State) MayCreate(spec metadata.VolumeSpec) error {
	if same := s.volumes[spec.ID]; same != nil {
		if same.madeFrom(spec) {
			return nil
		}
		return block.Errorf(block.Exists, "volume id %s exists already, as volume %q", spec.ID, same.name)
	}
	if s.names[spec.Name] != nil {
		return block.Errorf(block.Exists, "volume %q exists already", spec.Name)
	}
	if len(s.volumes) >= metadata.MaxVolumes {
		return block.Errorf(block.NoSpace, "volume %q: there are %d volumes already, no more are supported", spec.Name, metadata.MaxVolumes)
	}
	return nil
}

func (s *State) resizeVolume(c *pb.ResizeVolume) Result {
	v, err := s.liveVolume(c.GetId())
	if err != nil {
		return refused(err)
	}
	to := v.geometry
	to.Size = block.ByteCount(c.GetSize())
	if err := to.Check(); err != nil {
		return refused(err)
	}
	if to.Size < v.geometry.Size {
		return refused(block.Errorf(block.Invalid, "volume %s has %v: it can grow, but not shrink to %v", v.name, v.geometry.Size, to.Size))
	}
	if to.Size > v.geometry.Size {
		v.geometry = to
		v.version++
	}
	return Result{Volume: s.viewVolume(v)}
}

func (s *State) deleteVolume(c *pb.DeleteVolume) error {
	id, err := metadata.IDFromPB[block.VolumeID]("volume", c.GetId())
	if err != nil {
		return err
	}
	v := s.volumes[id]
	if v == nil {
		return block.Errorf(block.NotFound, "volume %s does not exist", id)
	}
	if v.deleting {
		return nil
	}
	if seen := block.VolumeEpoch(c.GetEpoch()); v.epoch != seen {
		return block.Errorf(block.Stale, "volume %s was opened at epoch %d while it was to be deleted at epoch %d", v.name, v.epoch, seen)
	}
	delete(s.names, v.name)
	v.deleting = true
	v.version++
	s.vanishIfEmpty(v)
	return nil
}

func (s *State) vanishIfEmpty(v *volume) {
	if v.deleting && len(v.pgs) == 0 && len(v.departed) == 0 {
		delete(s.volumes, v.id)
	}
}

// liveVolume is the volume of a raw id, unless it is being deleted. Error
// kinds: Invalid, NotFound.
func (s *State) liveVolume(raw []byte) (*volume, error) {
	id, err := metadata.IDFromPB[block.VolumeID]("volume", raw)
	if err != nil {
		return nil, err
	}
	v := s.volumes[id]
	if v == nil || v.deleting {
		return nil, block.Errorf(block.NotFound, "volume %s does not exist, or was deleted", id)
	}
	return v, nil
}
