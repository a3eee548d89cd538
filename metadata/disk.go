package metadata

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// Fullness says how full a node's disk is, as its daemon judges it. Levels
// ascend.
type Fullness uint8

// The levels of fullness.
const (
	RoomForAll    Fullness = iota
	NoNewSegments          // it makes no new segments
	NearlyFull             // the operator is to be told
	DiskFull               // it takes no more data
)

var fullnessNames = [...]string{"room", "no-new-segments", "nearly-full", "full"}

func (f Fullness) String() string {
	if int(f) < len(fullnessNames) {
		return fullnessNames[f]
	}
	return "unknown"
}

// DiskHealth is how a node's disk does, since its daemon's last start.
type DiskHealth struct {
	Folder string // on the node
	Failed string // why the disk has ended (rule S3), or empty

	// With Heartbeat.Live these make the capacity.
	Dead, Reserved, Free block.ByteCount
	Fullness             Fullness
	IndexBlocks          int // blocks of data that the index in memory knows
	IndexBytes           block.ByteCount

	Stalls       int // flushes that took 100 ms or longer
	LongestFlush time.Duration
	Unmended     int // of Heartbeat.Damages, those that are still to be mended
	Scrub        Scrub
	Pulls        Pulls
}

// Pulls is how far a node's segments are with taking from their peers what they
// lack (rules R20 to R22), all together.
type Pulls struct {
	Segments int
	Records  block.ByteCount // that came in records
	Leaves   block.ByteCount // that came in leaves
	Left     block.ByteCount // an estimate of what is to come in leaves; 0: not known
	Rate     block.ByteCount // a second
	Ends     time.Duration   // an estimate of the time left; 0: not known
}

func (p Pulls) toPB() *pb.Pulls {
	return &pb.Pulls{Segments: uint64(p.Segments), Records: uint64(p.Records), Leaves: uint64(p.Leaves), Left: uint64(p.Left), Rate: uint64(p.Rate), EndsNs: int64(p.Ends)}
}

func pullsFromPB(p *pb.Pulls) Pulls {
	return Pulls{
		Segments: int(p.GetSegments()), Records: block.ByteCount(p.GetRecords()), Leaves: block.ByteCount(p.GetLeaves()),
		Left: block.ByteCount(p.GetLeft()), Rate: block.ByteCount(p.GetRate()), Ends: time.Duration(p.GetEndsNs()),
	}
}

// Scrub is how far a node is with reading all that it has (rule S1).
type Scrub struct {
	Running     bool
	Done, Total block.ByteCount // of the pass under way
	Found       int             // damaged blocks, in all passes
	Mended      int
	Passes      int       // that came to an end
	Began       time.Time // of the pass under way, or the last one; zero: none yet
	Ended       time.Time // of the last pass that came to an end
	Next        time.Time // when the next one begins, if none is running
}

func diskHealthToPB(h DiskHealth) *pb.DiskHealth {
	s := h.Scrub
	return &pb.DiskHealth{
		Folder: cut(h.Folder), Failed: cut(h.Failed), Dead: uint64(h.Dead), Reserved: uint64(h.Reserved), Free: uint64(h.Free),
		Fullness: uint32(h.Fullness), IndexBlocks: uint64(h.IndexBlocks), IndexBytes: uint64(h.IndexBytes),
		Stalls: uint64(h.Stalls), LongestFlushNs: int64(h.LongestFlush), Unmended: uint64(h.Unmended),
		Scrub: &pb.Scrub{
			Running: s.Running, Done: uint64(s.Done), Total: uint64(s.Total), Found: uint64(s.Found), Mended: uint64(s.Mended), Passes: uint64(s.Passes),
			BeganNs: timeToPB(s.Began), EndedNs: timeToPB(s.Ended), NextNs: timeToPB(s.Next),
		},
		Pulls: h.Pulls.toPB(),
	}
}

// diskHealthFromPB translates what a node says; texts that are too long are cut,
// and levels that this build does not know are taken for the highest. All of
// it is for people and for placement, none of it worth a refusal.
func diskHealthFromPB(p *pb.DiskHealth) DiskHealth {
	s := p.GetScrub()
	return DiskHealth{
		Folder: cut(p.GetFolder()), Failed: cut(p.GetFailed()),
		Dead: block.ByteCount(p.GetDead()), Reserved: block.ByteCount(p.GetReserved()), Free: block.ByteCount(p.GetFree()),
		Fullness: Fullness(min(p.GetFullness(), uint32(DiskFull))), IndexBlocks: int(p.GetIndexBlocks()), IndexBytes: block.ByteCount(p.GetIndexBytes()),
		Stalls: int(p.GetStalls()), LongestFlush: time.Duration(p.GetLongestFlushNs()), Unmended: int(p.GetUnmended()),
		Scrub: Scrub{
			Running: s.GetRunning(), Done: block.ByteCount(s.GetDone()), Total: block.ByteCount(s.GetTotal()),
			Found: int(s.GetFound()), Mended: int(s.GetMended()), Passes: int(s.GetPasses()),
			Began: timeFromPB(s.GetBeganNs()), Ended: timeFromPB(s.GetEndedNs()), Next: timeFromPB(s.GetNextNs()),
		},
		Pulls: pullsFromPB(p.GetPulls()),
	}
}

// maxDiskText bounds a folder's name and a disk's error, in bytes.
const maxDiskText = 1024

func cut(s string) string { return s[:min(len(s), maxDiskText)] }
