package logstore

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// While the brakes are on, as much gets in as is won meanwhile; what the cleaner
// logs for itself ends the wait, so does their release, and time.
func TestBrakesLetInWhatIsWon(t *testing.T) {
	for _, c := range []struct {
		name string
		ends func(b *brakes, c *clock.Fake)
	}{
		{"won", func(b *brakes, _ *clock.Fake) { b.win(2 * block.MiB) }},
		{"won in pieces", func(b *brakes, _ *clock.Fake) { b.win(block.MiB); b.win(block.MiB) }},
		{"released", func(b *brakes, _ *clock.Fake) { b.set(false) }},
		{"hurry", func(b *brakes, _ *clock.Fake) { b.hurry() }},
		{"time", func(_ *brakes, c *clock.Fake) { c.Advance(maxBrake) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := clock.NewFake(time.Time{})
			b := &brakes{won: newBell()}
			b.admit(block.GiB, now, nil) // they are off
			b.set(true)
			b.win(block.MiB)
			b.admit(block.MiB, now, nil) // it was won before
			done := make(chan struct{})
			go func() {
				defer close(done)
				b.admit(2*block.MiB, now, nil)
			}()
			must(t, now.AwaitRunning(t.Context(), 1))
			select {
			case <-done:
				t.Fatal("let in for nothing")
			default:
			}
			c.ends(b, now)
			<-done
		})
	}
}

// Neither a long wait nor a long rest is made up for without end.
func TestBrakesForget(t *testing.T) {
	b := &brakes{won: newBell()}
	b.set(true)
	b.win(block.GiB)
	if got := b.credit.Load(); got != creditMost {
		t.Errorf("a credit of %d", got)
	}
	done := b.hurry()
	defer done()
	b.admit(block.GiB, clock.NewFake(time.Time{}), nil)
	if got := b.credit.Load(); got != creditLeast {
		t.Errorf("a debt of %d", -got)
	}
}
