package logstore

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// candidate is what the choice of a victim looks at.
type candidate struct {
	seq   fileSeq
	pages pageNo // length of the file
	live  int64  // blocks that still count
}

// victim chooses the file that is best cleaned next, by benefit against cost:
// the space that it gives, times how long it is likely to stay as it is, over
// what reading it and writing its live part costs, (1-u)*age/(1+u). A file's
// age is how many files were begun since; so it needs no clock and survives a
// restart. False if cleaning any of them would give less than it takes.
func victim(files []candidate, newest fileSeq) (best int, ok bool) {
	top := 0.0
	for i, c := range files {
		u := float64(c.live) / float64(c.pages)
		if u > mostLive {
			continue
		}
		score := (1 - u) * float64(newest-c.seq+1) / (1 + u)
		if score > top {
			top, best, ok = score, i, true
		}
	}
	return best, ok
}

// mostLive is up to which live part a file is worth cleaning. Beyond that a
// disk would be kept busy for next to nothing; then it is full.
const mostLive = 0.92

// pace is what the cleaner's speed depends on, in log files.
type pace struct {
	free    int // can be taken now
	coming  int // are empty and wait for a checkpoint or their last reader
	reserve int // see reserveOf
	slack   int // all files that live bytes would not fill
}

// Cleaning is late on purpose: what is not cleaned yet dies meanwhile, and all
// space that lies free makes the rest fuller. So the limits are shares of the
// slack, not of the disk. What lies between them is emptied for one checkpoint.
const (
	throttleShare = 48 // writes are slowed when so small a part of the slack is free
	cleanShare    = 12 // cleaning begins when so much more is
)

func (p pace) throttleBelow() int { return p.reserve + 1 + p.slack/throttleShare }
func (p pace) cleanBelow() int    { return p.throttleBelow() + 2 + p.slack/cleanShare }

// ratio is how many bytes are to be freed for each byte written: none when
// there is room, as many as are written half-way down to where writes are
// slowed, twice as many there.
func (p pace) ratio() float64 {
	from, to := p.cleanBelow(), p.throttleBelow()
	free := p.free + p.coming
	if free >= from {
		return 0
	}
	return min(2, 2*float64(from-free)/float64(max(from-to, 1)))
}

// hurry tells that a checkpoint should not wait for its time: empty files are
// needed now, or as many wait for one as may lie between the two limits, less
// those that are emptied while it is taken.
func (p pace) hurry() bool {
	return p.free <= p.throttleBelow()+1 || 2*p.coming >= p.cleanBelow()-p.throttleBelow()
}

// The bounds of brakes: how many bytes of payload a second get in when the
// slowing begins, and when the reserve is reached.
const (
	brakeFast = 512 * block.MiB
	brakeSlow = 16 * block.MiB
)

// admitted is how many bytes of payload a second get in; 0: all.
func (p pace) admitted() block.ByteCount {
	from := p.throttleBelow()
	if p.free >= from {
		return 0
	}
	part := float64(max(p.free-p.reserve, 0)) / float64(max(from-p.reserve, 1))
	return brakeSlow + block.ByteCount(part*float64(brakeFast-brakeSlow))
}

// breathMost is how long the cleaner rests after a piece when it need not
// hurry and others use the disk.
const breathMost = 8 * time.Millisecond

// breath is how long the cleaner leaves the disk to others after a piece.
func (p pace) breath(busy bool) time.Duration {
	free, to := p.free+p.coming, p.throttleBelow()
	if !busy || free <= to {
		return 0
	}
	part := min(1, float64(free-to)/float64(max(p.cleanBelow()-to, 1)))
	return time.Duration(part * float64(breathMost))
}
