// Package torture runs a whole cluster as processes, breaks it at random, and
// judges what its clients have seen.
//
// A run is a series of chapters. Each has a plan, made from the run's seed:
// daemons are killed and stopped in their tracks, zones and links cut, one way
// or both, packets lost, late and held back, connections cut in mid-frame,
// disks filled and lost, clients moved from gateway to gateway while the old
// one lives (plan.go). It is carried out on a cluster whose daemons are in
// network namespaces, with a network of ours between them (world.go,
// faults.go), while clients read and write stamped blocks over many
// connections, some of which stay with a gateway that others have left
// (clients.go). Then all is mended, each block is read, and the history of all
// requests of the chapter is judged block by block: nothing that was
// acknowledged is lost, no read is stale, whatever happened (run.go). Disks that
// were lost are replaced by then (replace.go), and all copies of a group hold the
// same data (copies.go).
//
// In chapters within what docs/DURABILITY.md promises, somebody has to get an
// answer every now and then, too (stallMax). In those beyond, more than a
// quorum is away for a while: then only safety counts, and that all goes on
// afterwards.
//
// The plan is repeatable, what happens under it is not: the machine decides.
// A failure leaves its folder: seed, plan, logs and data of all daemons, the
// history of the blocks that are wrong, porcupine's picture of it.
//
// Also here: a zone and a node away, and all six copies compared afterwards
// (zone_test.go); a file system as the judge (filesystem_test.go).
//
// Non-job: the protocol's schedules, far more of them, are those of
// integration/sim; power cuts of disks those of logstore.
//
// Invariants: nothing of a run is left on the machine but the folder of one
// that failed.
//
// Goroutines: one for each client, one that carries out the plan, one for each
// daemon that is being started again. All end with their chapter.
package torture
