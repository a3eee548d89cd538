package bench

import "github.com/sextantdisk/sextant/internal/block"

// Job is one load.
type Job struct {
	// Name is for machines, Title for people.
	Name, Title string
	// Pattern is fio's --rw.
	Pattern string
	// ReadPercent of a mixed pattern; zero for the others.
	ReadPercent int
	BlockSize   block.ByteCount
	Depth       int
	// FlushEach: a flush after each write, and its time counted in.
	FlushEach bool
	// Against names the job of the peer that ours is compared with.
	Against string
	// Floor is the least ratio of operations that we accept; zero for none.
	Floor float64
}

const flushed = "randwrite-qd1-flush"

// Jobs are the eight loads, in the order in which they run.
var Jobs = []Job{
	{Name: "randwrite-qd1", Title: "4k random write QD1", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 1, Against: flushed, Floor: 0.5},
	{Name: flushed, Title: "4k random write QD1, flush after each", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 1, FlushEach: true, Against: flushed, Floor: 0.5},
	{Name: "randwrite-qd32", Title: "4k random write QD32", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 32, Against: "randwrite-qd32", Floor: 0.15},
	{Name: "randread-qd1", Title: "4k random read QD1", Pattern: "randread", BlockSize: 4 * block.KiB, Depth: 1, Against: "randread-qd1", Floor: 0.5},
	{Name: "randread-qd32", Title: "4k random read QD32", Pattern: "randread", BlockSize: 4 * block.KiB, Depth: 32, Against: "randread-qd32", Floor: 0.3},
	{Name: "write-1m-qd8", Title: "1 MiB write QD8", Pattern: "write", BlockSize: block.MiB, Depth: 8, Against: "write-1m-qd8", Floor: 0.1},
	{Name: "read-1m-qd8", Title: "1 MiB read QD8", Pattern: "read", BlockSize: block.MiB, Depth: 8, Against: "read-1m-qd8", Floor: 0.3},
	{Name: "randrw-qd16", Title: "4k random 70/30 QD16", Pattern: "randrw", ReadPercent: 70, BlockSize: 4 * block.KiB, Depth: 16, Against: "randrw-qd16"},
}

// prefill writes the whole volume once.
var prefill = Job{Name: "prefill", Title: "prefill", Pattern: "write", BlockSize: block.MiB, Depth: 8}
