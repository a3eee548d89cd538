package volume

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/volume/pg"
)

// TestR23WhatCannotBeOpenedIsNamed: after a while the metadata service is told
// which groups cannot be opened, so that the others may change; and again when
// all are open.
func TestR23WhatCannotBeOpenedIsNamed(t *testing.T) {
	fake := clock.NewFake(time.Unix(1000, 0))
	v := scriptedVolume(t, fake, testHold)
	v.ctx, v.cancel = context.WithCancel(t.Context())
	defer v.cancel()
	m := &meta{}
	v.cfg.Metadata, v.epoch, v.allOpen = m, 2, make(chan struct{})
	open := scriptedIn(t, v, fake).group // its machine is open
	open.born = 1
	stuck := &group{v: v, index: 1, born: 1}
	stuck.roster.Store(open.roster.Load())
	stuck.mu.machine = pg.New(pg.Config{Epoch: 2, Quorum: open.roster.Load().quorum, Hold: testHold, Next: v.nextLSN})
	groups := make([]atomic.Pointer[group], 2)
	groups[0].Store(open)
	groups[1].Store(stuck)
	v.groups.Store(&groups)
	v.mu.unopened = 1

	done := make(chan struct{})
	go func() {
		defer close(done)
		v.tellOpened()
	}()
	told := func(n int) (left []block.PGIndex) {
		eventually(t, "word of the opening", func() bool {
			fake.Advance(openedPause / 10)
			m.mu.Lock()
			defer m.mu.Unlock()
			left = m.unopened
			return len(m.done) == n
		})
		return left
	}
	if left := told(1); !slices.Equal(left, []block.PGIndex{1}) {
		t.Fatalf("%v are said not to be open", left)
	}
	groups[1].Store(nil) // as if it were open, or gone
	v.countOpened(1)
	if left := told(2); len(left) != 0 {
		t.Errorf("when all are open, %v are said not to be", left)
	}
	<-done
}
