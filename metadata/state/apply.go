package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// Result is what a command gives to its proposer.
type Result struct {
	// Err is why the command was refused. Of kind Corrupt or Version it
	// means that the log holds what this program cannot apply: its caller
	// must stop, or it would part from the others.
	Err error
	// Volume after CreateVolume, ResizeVolume, OpenVolume.
	Volume metadata.Volume
	// Opened after OpenVolume: the volume has a new epoch. CleanHandover: as
	// R14 means it.
	Opened, CleanHandover bool
	// PG after PlacePG: what is placed, by this command or before; after a
	// change of a group: what is in force.
	PG metadata.PGConfig
}

// Encode makes the log entry of a command, at the current Version.
func Encode(c *pb.Command) ([]byte, error) {
	c.Version = Version
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, block.Wrap(block.Invalid, err, "encoding a metadata command")
	}
	return b, nil
}

// Apply takes the command at index i of the log. Commands come in order, each
// once: an index that is not above Applied is refused with kind Stale.
func (s *State) Apply(i Index, entry []byte) Result {
	if i <= s.applied {
		return Result{Err: block.Errorf(block.Stale, "command %d was applied already: %d is", i, s.applied)}
	}
	c := &pb.Command{}
	if err := proto.Unmarshal(entry, c); err != nil {
		return Result{Err: block.Wrap(block.Corrupt, err, "metadata command %d of %d bytes", i, len(entry))}
	}
	if c.GetVersion() == 0 {
		return Result{Err: block.Errorf(block.Corrupt, "metadata command %d has no version", i)}
	}
	if c.GetVersion() > Version || c.GetBody() == nil {
		return Result{Err: block.Errorf(block.Version, "metadata command %d has version %d, this program knows up to %d: install a newer Sextant", i, c.GetVersion(), Version)}
	}
	s.applied = i
	return s.dispatch(c)
}

func (s *State) dispatch(c *pb.Command) Result {
	if b, ok := c.GetBody().(*pb.Command_InitCluster); ok {
		return Result{Err: s.initCluster(b.InitCluster)}
	}
	if s.cluster.IsZero() {
		return Result{Err: block.Errorf(block.Unavailable, "the cluster has no id yet")}
	}
	switch b := c.GetBody().(type) {
	case *pb.Command_UpsertMember:
		return Result{Err: s.upsertMember(b.UpsertMember)}
	case *pb.Command_DeleteMember:
		return Result{Err: s.deleteMember(b.DeleteMember)}
	case *pb.Command_RegisterNode:
		return Result{Err: s.registerNode(b.RegisterNode)}
	case *pb.Command_SetNodeState:
		return Result{Err: s.setNodeState(b.SetNodeState)}
	case *pb.Command_CreateVolume:
		return s.createVolume(b.CreateVolume)
	case *pb.Command_ResizeVolume:
		return s.resizeVolume(b.ResizeVolume)
	case *pb.Command_DeleteVolume:
		return Result{Err: s.deleteVolume(b.DeleteVolume)}
	case *pb.Command_OpenVolume:
		return s.openVolume(b.OpenVolume)
	case *pb.Command_OpenDone:
		return Result{Err: s.openDone(b.OpenDone)}
	case *pb.Command_CloseVolume:
		return Result{Err: s.closeVolume(b.CloseVolume)}
	case *pb.Command_PlacePg:
		return s.placePG(b.PlacePg)
	case *pb.Command_ForgetSegments:
		return Result{Err: s.forgetSegments(b.ForgetSegments)}
	case *pb.Command_BeginReplace:
		return s.beginReplace(b.BeginReplace)
	case *pb.Command_MarkHydrated:
		return s.markHydrated(b.MarkHydrated)
	case *pb.Command_FinishChange:
		return s.finishChange(b.FinishChange)
	case *pb.Command_CancelChange:
		return s.cancelChange(b.CancelChange, c.GetVersion() >= versionCancel)
	case *pb.Command_BeginReduce:
		return s.beginReduce(b.BeginReduce)
	case *pb.Command_BeginRestore:
		return s.beginRestore(b.BeginRestore)
	}
	return Result{Err: block.Errorf(block.Version, "a metadata command of an unknown type: install a newer Sextant")}
}

func refused(err error) Result { return Result{Err: err} }
