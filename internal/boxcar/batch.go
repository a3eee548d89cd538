package boxcar

const (
	// headChunk is the memory for heads that a batch keeps, in bytes. A
	// batch with more heads takes further chunks for its lifetime.
	headChunk = 4096
	// keepPieces is the number of pieces for which a batch keeps memory
	// after it has been sent.
	keepPieces = 4096
)

// Releaser owns the memory of a body. Release is called once, when the bytes
// are no longer needed. *slab.Buffer is one.
type Releaser interface{ Release() }

// claim is an owner that waits until all pieces below end have been sent.
type claim struct {
	owner Releaser
	end   int
}

// batch is a run of messages on their way out.
//
//	pieces:  [head|head|head] [body] [head] [body] [body] ...
//	          └ one piece: neighbours in a chunk   ▲ next, skip bytes of it are gone
//
// Invariant: pieces[:next] have been sent and all claims up to there were
// released; claims are sorted by end.
type batch struct {
	pieces [][]byte
	next   int
	claims []claim
	freed  int // claims[:freed] have been released

	head []byte // the open chunk; its length is what is used
	open bool   // the last piece is the tail of head and may grow
}

// addHead appends a copy of p.
func (b *batch) addHead(p []byte) {
	for len(p) > 0 {
		if len(b.head) == cap(b.head) {
			b.head = make([]byte, 0, headChunk)
			b.open = false
		}
		at := len(b.head)
		n := min(len(p), cap(b.head)-at)
		b.head = append(b.head, p[:n]...)
		p = p[n:]
		if b.open {
			last := len(b.pieces) - 1
			b.pieces[last] = b.head[at-len(b.pieces[last]):]
			continue
		}
		b.pieces = append(b.pieces, b.head[at:])
		b.open = true
	}
}

// addBody appends p itself.
func (b *batch) addBody(p []byte) {
	if len(p) > 0 {
		b.pieces = append(b.pieces, p)
		b.open = false
	}
}

// addClaim makes o wait for all that has been added. When o has no body, a
// later head may still grow the piece that o waits for: o is then released a
// little later, with that head.
func (b *batch) addClaim(o Releaser) {
	if o != nil {
		b.claims = append(b.claims, claim{owner: o, end: len(b.pieces)})
	}
}

// empty reports whether all pieces have been sent.
func (b *batch) empty() bool { return b.next == len(b.pieces) }

// advance drops the first n unsent bytes and releases who waited for them.
func (b *batch) advance(n int) {
	for n > 0 {
		p := b.pieces[b.next]
		if n < len(p) {
			b.pieces[b.next] = p[n:]
			break
		}
		n -= len(p)
		b.next++
	}
	for b.freed < len(b.claims) && b.claims[b.freed].end <= b.next {
		b.claims[b.freed].owner.Release()
		b.freed++
	}
}

// reset releases all that still waits and makes the batch ready for use
// again, with its memory unless that has grown out of proportion.
func (b *batch) reset() {
	for _, c := range b.claims[b.freed:] {
		c.owner.Release()
	}
	if cap(b.pieces) > keepPieces || cap(b.claims) > keepPieces {
		b.pieces, b.claims = nil, nil
	}
	clear(b.pieces)
	clear(b.claims)
	*b = batch{pieces: b.pieces[:0], claims: b.claims[:0], head: b.head[:0]}
}
