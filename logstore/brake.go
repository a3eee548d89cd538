package logstore

import (
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// brakes hold clients back where few files are free: they get in as much as
// cleaning wins meanwhile, piece by piece, so that all of them are slowed a
// little instead of some of them being stopped when the last file is full.
type brakes struct {
	on atomic.Bool
	// credit is what was won less what was written since the brakes are on, in
	// bytes; between creditLeast and creditMost.
	credit atomic.Int64
	// hasty: the cleaner waits for records of its own, which give files back.
	hasty atomic.Bool
	won   bell
}

const (
	creditLeast = -int64(MaxBatch)
	creditMost  = int64(MaxBatch)
	// maxBrake bounds how long one batch is held back: that nothing is won is
	// no reason to stop while there are files.
	maxBrake = 100 * time.Millisecond
)

// set puts the brakes on, or releases them.
func (b *brakes) set(on bool) {
	switch was := b.on.Swap(on); {
	case on && !was:
		b.credit.Store(0)
	case was && !on:
		b.won.ring()
	}
}

// win tells that cleaning has won n bytes.
func (b *brakes) win(n block.ByteCount) {
	if b.on.Load() && b.credit.Add(int64(n)) > creditMost {
		b.credit.Store(creditMost)
	}
	b.won.ring()
}

// hurry lets all pass until done is called.
func (b *brakes) hurry() (done func()) {
	b.hasty.Store(true)
	b.won.ring()
	return func() { b.hasty.Store(false) }
}

// admit waits until n bytes more may be written.
func (b *brakes) admit(n block.ByteCount, c clock.Clock, stop <-chan struct{}) {
	if !b.on.Load() {
		return
	}
	if b.credit.Add(-int64(n)) < creditLeast {
		b.credit.Store(creditLeast)
	}
	until := c.Now().Add(maxBrake)
	for b.on.Load() && !b.hasty.Load() && b.credit.Load() < 0 {
		left := until.Sub(c.Now())
		if left <= 0 || !b.won.wait(c, left, stop) {
			return
		}
	}
}
