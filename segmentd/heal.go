package segmentd

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// healBatch bounds the blocks of a segment that are mended in one round.
const healBatch = 64

// Peer is another copy of a protection group.
type Peer struct {
	Segment block.SegmentID
	Node    block.NodeID
	Disk    block.DiskID
	Address string
}

// mend brings blocks that were found damaged from peers (rule S2). Gateways do
// the same with what they read; this is for all that nobody reads.
func (c *scrubber) mend() {
	c.healed = c.s.clock.Now()
	c.rounds++
	if c.s.Failed() != nil {
		return
	}
	for _, h := range c.s.hostedAll() {
		if c.s.ctx.Err() != nil {
			return
		}
		if bad := h.log.Bad(); len(bad) > 0 {
			c.s.heal(h, share(bad, c.rounds))
		}
	}
}

// share is what is tried of them in a round, others in the next: some perhaps
// nobody has.
func share(bad []logstore.BadBlock, round int) []logstore.BadBlock {
	if len(bad) <= healBatch {
		return bad
	}
	from := round % ((len(bad) + healBatch - 1) / healBatch) * healBatch
	return bad[from:min(from+healBatch, len(bad))]
}

// heal asks one peer after the other for what is bad, until all is mended.
func (s *Server) heal(h *hosted, bad []logstore.BadBlock) {
	ref := h.ref()
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	peers, err := s.cfg.Registry.Peers(ctx, ref.Volume, ref.PG)
	if err != nil {
		s.log.Warn("damage waits: the other copies cannot be found out", "segment", ref.Segment, "blocks", len(bad), "err", err)
		return
	}
	for _, p := range peers {
		if p.Segment == ref.Segment || p.Address == "" || len(bad) == 0 {
			continue
		}
		if bad, err = s.healFrom(h, p, bad); err != nil {
			s.log.Info("a peer cannot mend damage", "segment", ref.Segment, "peer", p.Node, "left", len(bad), "err", err)
		}
	}
	if len(bad) > 0 {
		s.log.Warn("damage waits: no copy has these blocks whole as of now", "segment", ref.Segment, "pg", ref.PG, "blocks", len(bad), "first", bad[0].Block)
	}
}

// healFrom mends what a peer has whole, and gives what is left.
func (s *Server) healFrom(h *hosted, from Peer, bad []logstore.BadBlock) ([]logstore.BadBlock, error) {
	p, err := s.dialPeer(from, h.ident())
	if err != nil {
		return bad, err
	}
	defer p.Close()
	stands, err := p.standing(p.place())
	if err != nil {
		return bad, err
	}
	p.quote(&stands[0])
	left := bad[:0:0]
	for i, b := range bad {
		payload, err := p.block(b.At, b.Block)
		switch kind := block.KindOf(err); {
		case err == nil && block.Checksum(payload) == b.Sum:
		case err == nil || kind == block.NotFound || kind == block.Corrupt: // it may have the next one
			left = append(left, b)
			continue
		default:
			return append(left, bad[i:]...), err
		}
		switch err := h.log.Mend(b.Block, payload); block.KindOf(err) {
		case block.NotFound, block.Mismatch: // written again, or given back, meanwhile
		case block.Unknown:
			s.counters.Mended.Add(1)
			s.log.Info("damaged block mended by a peer", "segment", h.log.ID(), "block", b.Block, "peer", from.Node)
		default:
			return append(left, bad[i:]...), err
		}
	}
	return left, nil
}

// ident is the segment's own place and epochs.
func (h *hosted) ident() wire.Identity {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.mu.core.Meta()
	return wire.Identity{Cluster: m.Cluster, Volume: m.Volume, Segment: h.log.ID(), PG: m.PG, Epoch: h.mu.core.Promised(), Member: m.Member}
}

// block reads one block as of an LSN, as the peer holds it. What comes has the
// checksum that the peer tells with it. Error kinds: those of the refusal,
// NotFound (no data there), Corrupt, Invalid.
func (p *peer) block(at block.LSN, b block.Index) ([]byte, error) {
	m := wire.Read{Identity: p.ident, At: at, Block: b, Count: 1, Mending: true}
	h, meta, err := p.ask(m.Append(nil, wire.TypeRead, 1), fetchTimeout)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "reading block %d", b)
	}
	if h.Type != wire.TypeData {
		return nil, refusal(h, meta)
	}
	var d wire.Data
	if err := d.Decode(meta, h.Type, h.PayloadLen); err != nil {
		return nil, err
	}
	switch {
	case h.PayloadLen == 0:
		return nil, block.Errorf(block.NotFound, "block %d holds no data there", b)
	case h.PayloadLen != block.Size || len(d.Sums) != 1:
		return nil, block.Errorf(block.Invalid, "one block was asked for, %d bytes came", h.PayloadLen)
	}
	payload := make([]byte, block.Size)
	if err := p.r.Payload(payload); err != nil {
		return nil, block.Wrap(block.Unavailable, err, "reading block %d", b)
	}
	return payload, wire.VerifyBlocks(payload, d.Sums)
}
