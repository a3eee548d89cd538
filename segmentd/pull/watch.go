package pull

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// Watch notices that a segment lags though no writer says so: none is there, or
// it has not noticed (rule R20). It compares where the segment stands with where
// a peer stood at the look before, so that what is merely on its way to both
// does not count. The zero value has seen nothing.
type Watch struct {
	epoch  block.VolumeEpoch
	seen   block.LSN
	higher block.VolumeEpoch // a peer's, above this segment's own
}

// Told is what a segment and a peer say of themselves at one look.
type Told struct {
	Epoch     block.VolumeEpoch // promised
	SCL       block.LSN
	Floor     block.LSN // asked of a peer only
	Hydrating bool
	// Usable, of a peer: it is there, whole and not damaged.
	Usable bool
}

// Verdict is what is to be done.
type Verdict struct {
	// UpTo, if not 0, is what a peer has and this segment lacks.
	UpTo block.LSN
	// Floor, if not 0, is what the writer of the promised epoch has told the
	// peer, and this segment perhaps not, because it is none of those that are
	// told (R29). It may be taken like the writer's own word (R13): else the
	// records that are pulled would never settle.
	Floor block.LSN
	// Learn: a peer has promised a higher epoch for so long that this
	// segment's writer must be gone; the metadata service knows more.
	Learn bool
}

// Look takes in where both stand now.
func (w *Watch) Look(own, peer Told) (v Verdict) {
	if w.epoch != own.Epoch {
		*w = Watch{epoch: own.Epoch}
	}
	same := peer.Usable && peer.Epoch == own.Epoch
	switch {
	case own.Hydrating && same:
		v.UpTo = max(peer.SCL, 1) // half-way: nobody waits for more news
	case w.seen > own.SCL:
		v.UpTo = w.seen
	}
	v.Learn = w.higher > own.Epoch
	w.higher = 0
	if peer.Epoch > own.Epoch {
		w.higher = peer.Epoch
	}
	if same {
		w.seen = max(w.seen, peer.SCL)
		v.Floor = peer.Floor
	}
	return v
}
