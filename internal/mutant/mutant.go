package mutant

import "slices"

// Mutant names a rule that can be broken.
type Mutant string

// The log store's mutants. docs/TESTING.md has the table of what each breaks.
const (
	NoSync           Mutant = "no-sync"            // a batch is acknowledged without fdatasync
	TwoFlushes       Mutant = "two-flushes"        // a batch is written while the one before it is not durable
	SumWithoutOffset Mutant = "sum-without-offset" // a frame counts wherever it lies
	AppendAfterTear  Mutant = "append-after-tear"  // the log goes on behind a torn batch in the same file
	BlindRelocation  Mutant = "blind-relocation"   // a RELOC takes effect though its block was written since
	StaleFrame       Mutant = "stale-frame"        // a frame of a file's former life counts

	VictimBeforeCheckpoint Mutant = "victim-before-checkpoint" // a cleaned file is freed though a replay reads it
	CheckpointInParts      Mutant = "checkpoint-in-parts"      // a checkpoint's position is not that of its contents
	RottenLeaf             Mutant = "rotten-leaf"              // a leaf of a checkpoint counts whatever its checksum
	RottenFooter           Mutant = "rotten-footer"            // a footer counts whatever its checksum
	StartNotSynced         Mutant = "start-not-synced"         // what a start finds counts as durable
)

// The protocol's mutants, hunted by the simulator.
const (
	SmallWriteQuorum Mutant = "small-write-quorum" // one copy less counts as a write quorum
	LowestSCL        Mutant = "lowest-scl"         // recovery takes the lowest SCL of a read quorum
	NoPromise        Mutant = "no-promise"         // a segment listens to whoever spoke last
	VolatilePromise  Mutant = "volatile-promise"   // a promise is forgotten in a crash
	AckBeforeSync    Mutant = "ack-before-sync"    // a segment acknowledges what is not on disk
	AckArrived       Mutant = "ack-arrived"        // it acknowledges the highest record that arrived
	FenceOvertakes   Mutant = "fence-overtakes"    // a fence is answered before what was admitted before it is durable
	RejoinEmpty      Mutant = "rejoin-empty"       // a segment comes back empty under its old id
	ServeEarly       Mutant = "serve-early"        // a gateway serves before EPOCH_OPEN is on a write quorum
	TearMisread      Mutant = "tear-misread"       // a lost part of the log is taken for a torn tail
	DamagedCounts    Mutant = "damaged-counts"     // a damaged member counts for data
	DamageForgotten  Mutant = "damage-forgotten"   // a damaged segment is well again before it has caught up
	HighestChild     Mutant = "highest-child"      // the chain goes on with the highest child, not to the highest end
	GiveToAnybody    Mutant = "give-to-anybody"    // records go to peers of other promises
	TakeAfterFence   Mutant = "take-after-fence"   // records are taken from peers after a fence
	NoReadLease      Mutant = "no-read-lease"      // a gateway reads without a lease
	NoLeaseWait      Mutant = "no-lease-wait"      // a new gateway does not wait for the former one's lease
	NoDrift          Mutant = "no-drift"           // it waits as if clocks ran alike
	EmptyUnasked     Mutant = "empty-unasked"      // what is not placed is empty, without a lease
	NoEmptyWait      Mutant = "no-empty-wait"      // who places a group does not wait for those who take it for empty
	NoDepartedWait   Mutant = "no-departed-wait"   // nor for those who read from segments that left
	CancelUnwaited   Mutant = "cancel-unwaited"    // nor if they leave while the group is opened
	FloorOverReads   Mutant = "floor-over-reads"   // the floor passes reads that are under way
	OldSetOnly       Mutant = "old-set-only"       // while segments change the old set alone acknowledges
	NewSetOnly       Mutant = "new-set-only"       // while segments change the new set alone acknowledges
	FewFind          Mutant = "few-find"           // a smaller new set finds in a recovery what the old one has acknowledged
	ReturnedCounts   Mutant = "returned-counts"    // who comes back counts for data before it has caught up
	UnhydratedCounts Mutant = "unhydrated-counts"  // a new segment counts for data before it has any
	FinishEarly      Mutant = "finish-early"       // the new set stays alone before it has everything up to P*
	InstallUnasked   Mutant = "install-unasked"    // P* is taken before the old set has installed the change
	OldMembers       Mutant = "old-members"        // a segment listens to writers with an older configuration
	ChangeInRecovery Mutant = "change-in-recovery" // segments change while a volume is being opened
	BornUnasked      Mutant = "born-unasked"       // a segment is made for whoever asks
	AnnulledStays    Mutant = "annulled-stays"     // what was annulled stays visible

	HydratedEarly  Mutant = "hydrated-early"   // a hydration ends while leaves are still to come
	HighestCut     Mutant = "highest-cut"      // it goes on from the highest cut, not the lowest
	FloorMovesOn   Mutant = "floor-moves-on"   // the floor rises between the making of a hydration's first record and its being durable
	LeafStaysWhole Mutant = "leaf-stays-whole" // a leaf that is copied over by an older one passes for what it was
	LeafStaysNew   Mutant = "leaf-stays-new"   // so does one that records make older again
	RoundUnmissed  Mutant = "round-unmissed"   // a hydration counts though one before it, whose leaves it left out, is lost
	RoundsAlike    Mutant = "rounds-alike"     // the copies of a hydration that was given up pass for those of the next
	CopiesUnmissed Mutant = "copies-unmissed"  // leaves count though a part of what was copied is lost
	LostPeerAgain  Mutant = "lost-peer-again"  // a peer that has failed is asked again
	RotServed      Mutant = "rot-served"       // damaged blocks are served
	MendBlindly    Mutant = "mend-blindly"     // a damaged block is mended with another version
	EditOfAcked    Mutant = "edit-of-acked"    // a sub-block write reads what is acknowledged, not what is issued
	EditUnlocked   Mutant = "edit-unlocked"    // others change its block meanwhile
)

// OfLogStore lists the mutants that the log store's crash tests hunt.
func OfLogStore() []Mutant {
	return []Mutant{
		NoSync, TwoFlushes, SumWithoutOffset, AppendAfterTear, BlindRelocation, StaleFrame,
		VictimBeforeCheckpoint, CheckpointInParts, RottenLeaf, RottenFooter, StartNotSynced,
	}
}

// OfProtocol lists the mutants that the simulator hunts.
func OfProtocol() []Mutant {
	return []Mutant{
		SmallWriteQuorum, LowestSCL, NoPromise, VolatilePromise, AckBeforeSync, AckArrived, FenceOvertakes,
		RejoinEmpty, ServeEarly, TearMisread, DamagedCounts, DamageForgotten, HighestChild, AnnulledStays,
		NoReadLease, NoLeaseWait, NoDrift, EmptyUnasked, NoEmptyWait, NoDepartedWait, FloorOverReads,
		OldSetOnly, NewSetOnly, ReturnedCounts, FinishEarly,
		HydratedEarly, HighestCut, CopiesUnmissed, LostPeerAgain, RotServed,
		EditOfAcked, EditUnlocked,
	}
}

// Covered lists the mutants of rules that a second rule covers, so that no world
// is harmed when one of the two is broken, or hardly one in ten thousand: the
// tests of the rule itself hunt them.
func Covered() []Mutant {
	return []Mutant{
		GiveToAnybody, TakeAfterFence, UnhydratedCounts, FewFind, InstallUnasked, OldMembers, ChangeInRecovery, BornUnasked,
		CancelUnwaited, MendBlindly, FloorMovesOn, LeafStaysWhole, LeafStaysNew, RoundsAlike, RoundUnmissed,
	}
}

// All lists the mutants.
func All() []Mutant { return slices.Concat(OfLogStore(), OfProtocol(), Covered()) }
