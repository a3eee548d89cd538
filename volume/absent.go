package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// What follows is about groups that are not placed. They read as zeroes, and
// zeroing them is done at once, without asking any segment (B4). So nothing
// but the metadata service can tell a gateway that was cut off that a
// successor has placed and written them meanwhile: it may say so only under
// the lease that a confirmation of its epoch gives (R14, docs/adr/0003). A
// successor acknowledges nothing in a group as long as a gateway may have such a
// lease and not know the group (quorum.EmptyWaits).

// unsure is an operation that waits for the next confirmation.
type unsure struct {
	since pg.Time
	f     func(b *batch, err error)
}

// emptyKnown reports whether a group that is not placed is empty for sure.
func (v *Volume) emptyKnown() bool { return quorum.Confirmed(v.now(), v.confirmedAt()) }

// whenEmpty calls f when it is sure that what is not placed here is empty: at
// once as a rule; else later, or with an error when the volume has ended or
// its hold time is over (B5).
func (v *Volume) whenEmpty(b *batch, f func(b *batch, err error)) {
	if v.emptyKnown() {
		f(b, nil)
		return
	}
	v.mu.Lock()
	err := v.ended()
	sure := err == nil && v.emptyKnown() // confirmed since we looked: nobody would wake us
	if err == nil && !sure {
		v.mu.unsure = append(v.mu.unsure, unsure{v.now(), f})
	}
	v.mu.Unlock()
	if err != nil || sure {
		f(b, err)
	}
}

// nowSure lets all go on that waited for a confirmation. It comes after the
// confirmation was noted.
func (v *Volume) nowSure() {
	if !v.emptyKnown() {
		return // it was long on its way
	}
	v.mu.Lock()
	waiting := v.mu.unsure
	v.mu.unsure = nil
	v.mu.Unlock()
	var b batch
	for _, u := range waiting {
		u.f(&b, nil)
	}
	b.run()
}

// failUnsure fails those that have waited for at least that long.
func (v *Volume) failUnsure(b *batch, waited pg.Time, err error) {
	now := v.now()
	var late []unsure
	v.mu.Lock()
	keep := v.mu.unsure[:0]
	for _, u := range v.mu.unsure {
		if now-u.since >= waited {
			late = append(late, u)
			continue
		}
		keep = append(keep, u)
	}
	clear(v.mu.unsure[len(keep):])
	v.mu.unsure = keep
	v.mu.Unlock()
	for _, u := range late {
		u.f(b, err)
	}
}

// failHeldUnsure fails those that have waited for the hold time.
func (v *Volume) failHeldUnsure() {
	var b batch
	v.failUnsure(&b, v.cfg.Hold, block.Errorf(block.Unavailable,
		"volume %s: the metadata service has not confirmed for %v that this range was never written", v.info.Name, v.cfg.Hold))
	b.run()
}
