package bench

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

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
	// Cache is what the page caches hold of what is read.
	Cache Cache
	// Against names the job of the peer that ours is compared with.
	Against string
	// Floor is the least ratio of operations that we accept; zero for none.
	Floor float64
}

// Cache is the state of the page caches of a side when a job begins.
type Cache int

// States of the page caches (docs/adr/0031-reads-cold-and-warm.md).
const (
	// AsLeft: as the jobs before have left them.
	AsLeft Cache = iota
	// Cold: all is read from disk.
	Cold
	// Warm: a part of the volume is read that was read before.
	Warm
)

const flushed = "randwrite-qd1-flush"

// Jobs are all loads, in the order in which they run: the eight, then once more
// those that only read, which empty caches and fill them.
var Jobs = slices.Concat(eight, coldAndWarm(eight))

var eight = []Job{
	{Name: "randwrite-qd1", Title: "4k random write QD1", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 1, Against: flushed, Floor: 0.5},
	{Name: flushed, Title: "4k random write QD1, flush after each", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 1, FlushEach: true, Against: flushed, Floor: 0.5},
	{Name: "randwrite-qd32", Title: "4k random write QD32", Pattern: "randwrite", BlockSize: 4 * block.KiB, Depth: 32, Against: "randwrite-qd32", Floor: 0.15},
	{Name: "randread-qd1", Title: "4k random read QD1", Pattern: "randread", BlockSize: 4 * block.KiB, Depth: 1, Against: "randread-qd1", Floor: 0.5},
	{Name: "randread-qd32", Title: "4k random read QD32", Pattern: "randread", BlockSize: 4 * block.KiB, Depth: 32, Against: "randread-qd32", Floor: 0.3},
	{Name: "write-1m-qd8", Title: "1 MiB write QD8", Pattern: "write", BlockSize: block.MiB, Depth: 8, Against: "write-1m-qd8", Floor: 0.1},
	{Name: "read-1m-qd8", Title: "1 MiB read QD8", Pattern: "read", BlockSize: block.MiB, Depth: 8, Against: "read-1m-qd8", Floor: 0.3},
	{Name: "randrw-qd16", Title: "4k random 70/30 QD16", Pattern: "randrw", ReadPercent: 70, BlockSize: 4 * block.KiB, Depth: 16, Against: "randrw-qd16"},
}

// coldAndWarm are the jobs that only read, in both states of the caches.
func coldAndWarm(jobs []Job) (all []Job) {
	for _, j := range jobs {
		if j.Pattern != "read" && j.Pattern != "randread" {
			continue
		}
		disk, memory := j, j
		disk.Cache, disk.Name, disk.Title = Cold, j.Name+"-disk", j.Title+", from disk"
		memory.Cache, memory.Name, memory.Title = Warm, j.Name+"-memory", j.Title+", from memory"
		disk.Against, memory.Against = disk.Name, memory.Name
		all = append(all, disk, memory)
	}
	return all
}

// warming reads what a warm job is going to read, in short requests as they go
// through the page cache on either side.
var warming = Job{Name: "warming", Title: "warming", Pattern: "read", BlockSize: 4 * block.KiB, Depth: 32}

// prefill writes the whole volume once.
var prefill = Job{Name: "prefill", Title: "prefill", Pattern: "write", BlockSize: block.MiB, Depth: 8}
