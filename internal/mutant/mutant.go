package mutant

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
)

// All lists the mutants.
func All() []Mutant {
	return []Mutant{
		NoSync, TwoFlushes, SumWithoutOffset, AppendAfterTear, BlindRelocation, StaleFrame,
		VictimBeforeCheckpoint, CheckpointInParts,
	}
}
