package segmentd

import (
	"context"
	"encoding/binary"
	"hash/fnv"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/wire"
)

// Copy is what a copy of a group says of itself (invariant I4).
type Copy struct {
	Peer
	// Err is why it says nothing, or nil.
	Err           error
	SCL, Readable block.LSN
	Hydrating     bool
	// Leaves are the digests of its leaves at the LSN that all are compared
	// at, up to the last one that is not empty.
	Leaves []wire.LeafDigest
}

// Digest is one number for all of a copy's leaves.
func (c *Copy) Digest() wire.LeafDigest {
	h := fnv.New64a()
	for _, x := range c.Leaves {
		_ = binary.Write(h, binary.LittleEndian, uint64(x)) // a hash takes all
	}
	return wire.LeafDigest(h.Sum64())
}

// Compare asks the copies of a group for digests of their data as of one LSN:
// the lowest SCL of those that answer and are whole. It changes nothing and
// stops nobody; under load a copy may have settled that LSN before it is asked,
// and says so: then it is to be asked again. Error kind: Unavailable, when no
// copy answers.
func Compare(ctx context.Context, clk clock.Clock, cluster block.ClusterID, volume block.VolumeID, pg block.PGIndex, peers []Peer) (at block.LSN, copies []Copy, err error) {
	links := make([]*peer, len(peers))
	copies = make([]Copy, len(peers))
	defer func() {
		for _, l := range links {
			if l != nil {
				l.Close()
			}
		}
	}()
	for i, p := range peers {
		c := &copies[i]
		c.Peer = p
		ident := wire.Identity{Cluster: cluster, Volume: volume, PG: pg}
		if links[i], c.Err = dial(ctx, cluster, p, ident, "sextant", clk.Now); c.Err != nil {
			continue
		}
		if c.Err = c.stand(links[i]); c.Err == nil && !c.Hydrating && (at == 0 || c.SCL < at) {
			at = c.SCL
		}
	}
	if at == 0 {
		return 0, copies, block.Errorf(block.Unavailable, "no copy of group %v has anything to compare", pg)
	}
	for i := range copies {
		if c := &copies[i]; c.Err == nil {
			c.Err = c.digests(links[i], at)
		}
	}
	return at, copies, nil
}

// stand asks where the copy stands, and takes over its epochs.
func (c *Copy) stand(l *peer) error {
	stands, err := l.standing(l.place())
	if err != nil {
		return err
	}
	s := &stands[0]
	if !s.Here {
		return block.Errorf(block.NotFound, "segment %v is not on node %s", c.Segment, c.Node)
	}
	l.ident.Epoch, l.ident.Member = s.Epoch, s.Member
	c.SCL, c.Readable, c.Hydrating = s.SCL, s.Readable, s.Hydrating
	return nil
}

// digests asks for the digests of all leaves.
func (c *Copy) digests(l *peer, at block.LSN) error {
	for first := block.Index(0); ; {
		m := wire.Digest{Identity: l.ident, At: at, Block: first, Leaves: wire.MaxDigests}
		if err := l.send(m.Append(nil, 1)); err != nil {
			return err
		}
		meta, buf, err := l.receive(wire.TypeDigests)
		if err != nil {
			return err
		}
		release(buf)
		var out wire.Digests
		if err := out.Decode(meta); err != nil {
			return err
		}
		c.Leaves = append(c.Leaves, out.Digests...)
		if len(out.Digests) < wire.MaxDigests {
			break
		}
		first += block.Index(wire.MaxDigests) * block.Index(wire.LeafBlocks)
	}
	for len(c.Leaves) > 0 && c.Leaves[len(c.Leaves)-1] == 0 {
		c.Leaves = c.Leaves[:len(c.Leaves)-1]
	}
	return nil
}
