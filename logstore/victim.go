package logstore

import (
	"time"
)

// candidate is what the choice of a victim looks at.
type candidate struct {
	seq   fileSeq
	pages pageNo // length of the file
	live  int64  // blocks that still count
	moved moveCount
}

// moveCount is how often blocks were moved by cleaning: 0 in what clients have
// written, and no more than mostMoves.
type moveCount uint8

const mostMoves moveCount = 2

func (m moveCount) next() moveCount { return min(m+1, mostMoves) }

// worth tells whether cleaning it gives more than next to nothing: what it holds
// takes less room elsewhere. Else a disk that is nearly full would be kept busy
// for ever.
func (k *candidate) worth() bool { return float64(k.live) <= mostLive*float64(coldBlocks(k.pages)) }

// mostLive is up to which part of what a cold file has room for a file may be
// live and is cleaned.
const mostLive = 0.95

// coldBlocks is how many blocks have room in a cold file of so many pages, one
// by one: each has a descriptor in the header of its batch, and in the footer.
func coldBlocks(pages pageNo) int64 {
	const whole = coldEach + coldHeader // pages of a batch
	room := pages - headerCopies
	if pages >= footerFrom {
		room -= room/whole*coldHeader + footerSlack
	}
	n := room / whole * coldEach
	if rest := room % whole; rest > coldHeader {
		n += rest - 1 - rest/(whole/coldHeader)
	}
	return int64(n)
}

// choice chooses the file that is best cleaned next.
type choice struct {
	newest fileSeq   // the newest log file
	into   moveCount // what the open cold file is filled with; 0: anything
}

// of gives the candidate that is best cleaned next, among those that may be
// (nil: all); false if there is none.
//
// By benefit against cost: the space that it gives, times how long that is
// likely to stay as it is, over what reading it and writing its live part
// costs, (1-u)*age/(1+u). A file's age is how many files were begun since; so
// it needs no clock and survives a restart. One whose blocks were moved as often
// as those in the open cold file is taken before one that is up to likeShare
// times as good: so cold files are filled with what is alike, and either die
// soon or stay.
func (c choice) of(cands []candidate, may func(i int) bool) (best int, ok bool) {
	top, topLike, like := 0.0, 0.0, 0
	for i := range cands {
		if may != nil && !may(i) {
			continue
		}
		k := &cands[i]
		u := min(1, float64(k.live)/float64(k.pages))
		score := (1 - u) * float64(c.newest-k.seq+1) / (1 + u)
		if score > top {
			top, best = score, i
		}
		if score > topLike && (c.into == 0 || k.live == 0 || k.moved.next() == c.into) {
			topLike, like = score, i
		}
	}
	if topLike*likeShare >= top {
		best = like
	}
	return best, top > 0
}

const likeShare = 1.4

// pace is what the cleaner's speed depends on, in log files.
type pace struct {
	free    int // can be taken now
	coming  int // are empty and wait for their FREE or their last reader
	reserve int // see reserveOf
	slack   int // all files that live bytes would not fill
}

// Cleaning is late on purpose: what is not cleaned yet dies meanwhile, and all
// space that lies free makes the rest fuller. So the limits are shares of the
// slack, not of the disk.
const (
	throttleShare = 96 // writes are slowed when so small a part of the slack is free
	cleanShare    = 48 // cleaning begins when so much more is
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

// together is how many files are freed at once: each time costs the file system
// some of what clients wait for.
func (p pace) together() int {
	return min(maxEmptied, 1+max(0, p.free-p.reserve)/3)
}

// hurry tells that files are needed now.
func (p pace) hurry() bool { return p.free <= p.throttleBelow()+1 }

// brake tells that clients are to be held back.
func (p pace) brake() bool { return p.free < p.throttleBelow() }

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
