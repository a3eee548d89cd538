package state

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// openVolume is the only place where a volume's epoch moves (R4).
func (s *State) openVolume(c *pb.OpenVolume) Result {
	v, err := s.liveVolume(c.GetId())
	if err != nil {
		return refused(err)
	}
	if err := block.CheckName("gateway", c.GetGateway()); err != nil {
		return refused(err)
	}
	if len(c.GetDescription()) > metadata.MaxText {
		return refused(block.Errorf(block.Invalid, "gateway %s: a description of %d bytes is longer than %d", c.GetGateway(), len(c.GetDescription()), metadata.MaxText))
	}
	if from := block.VolumeEpoch(c.GetFromEpoch()); from != v.epoch {
		return refused(block.Errorf(block.Stale, "volume %s is at epoch %d, not %d: somebody else opened it", v.name, v.epoch, from))
	}
	if v.epoch >= block.MaxVolumeEpoch {
		return refused(block.Errorf(block.NoSpace, "volume %s was opened %d times: its epochs are used up, copy it to a new volume", v.name, v.epoch))
	}
	handover := v.clean
	v.epoch++
	v.open, v.clean, v.unopened = metadata.Recovering, false, nil
	v.gateway, v.description = metadata.GatewayID(c.GetGateway()), c.GetDescription()
	return Result{Volume: s.viewVolume(v), Opened: true, CleanHandover: handover}
}

// unopened is a list of groups as it is kept: ascending, each once.
func unopened(raw []uint32) (groups []block.PGIndex) {
	for _, i := range raw {
		groups = append(groups, block.PGIndex(i))
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// openDone notes that the volume's groups are open, but for those named. It may
// be said again when more of them are.
func (s *State) openDone(c *pb.OpenDone) error {
	v, err := s.ownedVolume(c.GetId(), block.VolumeEpoch(c.GetEpoch()))
	if err != nil {
		return err
	}
	if len(c.GetUnopened()) > metadata.MaxUnopened {
		return block.Errorf(block.Invalid, "volume %s: %d groups that are not open were named, more than %d", v.name, len(c.GetUnopened()), metadata.MaxUnopened)
	}
	v.open, v.unopened = metadata.Open, unopened(c.GetUnopened())
	return nil
}

func (s *State) closeVolume(c *pb.CloseVolume) error {
	v, err := s.liveVolume(c.GetId())
	if err != nil {
		return err
	}
	if err := v.checkEpoch(block.VolumeEpoch(c.GetEpoch())); err != nil {
		return err
	}
	if v.open != metadata.Closed { // a goodbye that is repeated changes nothing
		v.open, v.clean = metadata.Closed, c.GetClean()
	}
	return nil
}

// ownedVolume is the volume if epoch is its owner's and the owner has not
// said goodbye. Error kinds: Invalid, NotFound, Fenced.
func (s *State) ownedVolume(raw []byte, epoch block.VolumeEpoch) (*volume, error) {
	v, err := s.liveVolume(raw)
	if err != nil {
		return nil, err
	}
	return v, v.checkOwner(epoch)
}

func (v *volume) checkOwner(epoch block.VolumeEpoch) error {
	if err := v.checkEpoch(epoch); err != nil {
		return err
	}
	if v.open == metadata.Closed {
		return block.Errorf(block.Fenced, "volume %s: epoch %d was closed", v.name, epoch)
	}
	return nil
}

func (v *volume) checkEpoch(epoch block.VolumeEpoch) error {
	switch {
	case epoch < v.epoch || v.epoch == 0:
		return block.Errorf(block.Fenced, "volume %s is at epoch %d, held by gateway %s: epoch %d is over", v.name, v.epoch, v.gateway, epoch)
	case epoch > v.epoch:
		return block.Errorf(block.Invalid, "volume %s is at epoch %d: epoch %d was never given out", v.name, v.epoch, epoch)
	}
	return nil
}

// CheckOwner says whether epoch is still that of the volume's owner. Error
// kinds: NotFound, Fenced, Invalid.
func (s *State) CheckOwner(id block.VolumeID, epoch block.VolumeEpoch) error {
	_, err := s.ownedVolume(metadata.IDToPB(id), epoch)
	return err
}
