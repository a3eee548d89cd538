package segmentd

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

const (
	// pageBytes is what one answer of a peer brings at most, and what is
	// taken from the rate before it is asked for.
	pageBytes = block.ByteCount(wire.MaxPayload)
	// ahead is how many questions are on their way to a peer at a time.
	ahead = 2
	// leafPart is how much of a leaf is asked for in one question: who gives reads
	// and sends it in one go, and whoever writes there meanwhile waits.
	leafPart  = block.Count(64)
	leafBytes = block.ByteCount(wire.LeafBlocks) * block.Size
)

// source takes from one peer, on a connection of its own, what the machine
// asks of it. It has a goroutine, run's, for as long as its pull.
type source struct {
	p    *puller
	i    pull.Peer
	peer Peer
	asks chan pull.Effect // Kind 0: where do you stand
	link *peer
	sent []pull.Effect // and not answered
}

func (p *puller) addSource(peer Peer) {
	src := &source{p: p, i: pull.Peer(len(p.sources)), peer: peer, asks: make(chan pull.Effect, maxAsked)}
	p.sources = append(p.sources, src)
	p.tasks.Add(1)
	go func() { defer p.tasks.Done(); src.run() }()
}

// ask hands a question over; the machine never asks for more than fits.
func (src *source) ask(e pull.Effect) { src.asks <- e }

// run asks and takes answers until the pull is over. After an error the peer
// counts as lost, and so does whatever it is asked for.
func (src *source) run() {
	defer func() {
		if src.link != nil {
			src.link.Close()
		}
	}()
	for {
		err := src.takeAsks()
		if err == nil && len(src.sent) > 0 {
			err = src.answer(src.sent[0])
			if err == nil {
				src.sent = src.sent[1:]
			}
		}
		if src.p.ctx.Err() != nil {
			return
		}
		if err != nil {
			src.p.s.log.Info("a peer gives nothing", "segment", src.p.ident.Segment, "peer", src.peer.Node, "err", err)
			src.lose()
			return
		}
	}
}

// takeAsks sends questions: it waits for one if none is on its way.
func (src *source) takeAsks() error {
	for len(src.sent) < ahead {
		var e pull.Effect
		if len(src.sent) == 0 {
			select {
			case e = <-src.asks:
			case <-src.p.ctx.Done():
				return nil
			}
		} else {
			select {
			case e = <-src.asks:
			default:
				return nil
			}
		}
		src.sent = append(src.sent, e)
		if err := src.question(e); err != nil {
			return err
		}
	}
	return nil
}

// lose tells that nothing comes of what was asked, and of what still is.
func (src *source) lose() {
	lost := func(e pull.Effect) {
		in := pull.LostPeer(src.i)
		if e.Kind == pull.AskLeaf {
			in.Block = e.Block
		}
		src.p.send(event{in: in})
	}
	for _, e := range src.sent {
		lost(e)
	}
	for {
		select {
		case e := <-src.asks:
			lost(e)
		case <-src.p.ctx.Done():
			return
		}
	}
}

// question sends the frames of one question.
func (src *source) question(e pull.Effect) (err error) {
	if src.link == nil {
		if src.link, err = src.p.s.dialPeer(src.peer, src.p.ident); err != nil {
			return err
		}
	}
	l, rate := src.link, &src.p.s.taking
	switch e.Kind {
	case pull.AskRecords:
		if err := rate.wait(src.p.ctx, recordTraffic, pageBytes, takeLeast); err != nil {
			return err
		}
		return l.send((&wire.Fetch{Identity: l.ident, After: e.After, UpTo: e.UpTo}).Append(nil, 1))
	case pull.AskMarks:
		return l.send((&wire.Leaves{Identity: l.ident, After: e.After, Block: e.Block}).Append(nil, 1))
	case pull.AskLeaf:
		if err := rate.wait(src.p.ctx, leafTraffic, leafBytes, takeFloor(src.p.size())); err != nil {
			return err
		}
		var b []byte
		for at := block.Count(0); at < wire.LeafBlocks; at += leafPart {
			b = (&wire.Take{Identity: l.ident, Block: e.Block + block.Index(at), Count: leafPart}).Append(b, 1)
		}
		return l.send(b)
	}
	return l.send((&wire.Standing{Places: []wire.Place{l.place()}}).Append(nil, 1))
}

// answer takes the answer to a question.
func (src *source) answer(e pull.Effect) error {
	switch e.Kind {
	case pull.AskRecords:
		return src.page()
	case pull.AskMarks:
		return src.marks()
	case pull.AskLeaf:
		return src.leaf(e.Block)
	}
	return src.stand()
}

func (src *source) stand() error {
	stands, err := src.link.stands(1)
	if err != nil {
		return err
	}
	s := &stands[0]
	src.link.quote(s)
	src.p.send(event{in: pull.Input{Kind: pull.Stands, Peer: src.i, Stand: pull.Stand{
		Usable: s.Here && !s.Damaged && !s.Hydrating && s.Epoch == src.p.ident.Epoch,
		SCL:    s.SCL, Readable: s.Readable,
	}}})
	return nil
}

// page takes a page of records and gives it its place in the log.
func (src *source) page() error {
	meta, buf, err := src.link.receive(wire.TypeRecords)
	if kind := block.KindOf(err); kind == block.NotFound || kind == block.Corrupt {
		// Its log was cleaned there, or has rotten: leaves have what counts of it.
		src.p.send(event{in: pull.Input{Kind: pull.Gone, Peer: src.i}})
		return nil
	}
	if err != nil {
		return err
	}
	var m wire.Write
	if err := m.Decode(meta, content(buf)); err != nil {
		release(buf)
		return err
	}
	in := pull.Input{Kind: pull.Page, Peer: src.i}
	if len(m.Records) == 0 {
		release(buf)
		src.p.send(event{in: in})
		return nil
	}
	in.Prev, in.Last = m.Records[0].Prev, m.Records[len(m.Records)-1].LSN
	recs := make([]logstore.Record, 0, len(m.Records))
	for i := range m.Records {
		if err := m.Records[i].Verify(); err != nil {
			release(buf)
			return err
		}
		recs = append(recs, logRecord(&m.Records[i]))
	}
	return src.p.log(in, recs, buf)
}

// log gives a page of records its place in the log, if no newer writer has
// come.
func (p *puller) log(in pull.Input, recs []logstore.Record, buf *slab.Buffer) error {
	h := p.h
	// Between the look at the promise and the place in the log nobody may
	// come: under the lock (T4).
	h.mu.Lock()
	if !h.mu.core.Takes(p.ident.Epoch) {
		h.mu.Unlock()
		release(buf)
		err := block.Errorf(block.Fenced, "a newer writer has come")
		p.stop(err)
		return err
	}
	n := payload(buf)
	p.s.fromPeers.Add(uint64(n))
	t := p.s.enqueueLocked(h, []logstore.Op{{Segment: h.log, Records: recs}})
	h.mu.Unlock()
	p.send(event{in: in})
	p.unsaved <- saving{tickets: []*logstore.Ticket{t}, bufs: []*slab.Buffer{buf}, records: n, then: func() pull.Input {
		return pull.Input{Kind: pull.Saved, SCL: h.log.SCL()}
	}}
	return nil
}

func (src *source) marks() error {
	meta, buf, err := src.link.receive(wire.TypeMarks)
	if err != nil {
		return err
	}
	release(buf)
	var m wire.Marks
	if err := m.Decode(meta); err != nil {
		return err
	}
	in := pull.Input{Kind: pull.Marks, Peer: src.i, Cut: m.Cut, More: len(m.Marks) == wire.MaxMarks}
	for _, k := range m.Marks {
		in.Marks = append(in.Marks, pull.Mark{Block: k.Block, MaxLSN: k.MaxLSN, Own: src.p.h.log.LeafMax(k.Block)})
		in.Next = k.Block + block.Index(wire.LeafBlocks)
	}
	src.p.send(event{in: in})
	return nil
}

// leaf takes all parts of a leaf, in their order.
func (src *source) leaf(first block.Index) error {
	sv := saving{}
	cut := ^block.LSN(0)
	for at := block.Count(0); at < wire.LeafBlocks; at += leafPart {
		c, err := src.part(first+block.Index(at), &sv)
		if err != nil {
			src.p.unsaved <- sv // what has begun is waited for
			return err
		}
		cut = min(cut, c)
	}
	sv.then = func() pull.Input { return pull.Input{Kind: pull.Taken, Peer: src.i, Block: first, Cut: cut} }
	src.p.unsaved <- sv
	return nil
}

// part takes a part of a leaf and gives it its place in the log.
func (src *source) part(first block.Index, sv *saving) (cut block.LSN, err error) {
	meta, buf, err := src.link.receive(wire.TypeLeaf)
	if err != nil {
		return 0, err
	}
	sv.bufs = append(sv.bufs, buf)
	sv.copied += payload(buf)
	var m wire.Leaf
	if err := m.Decode(meta, int(payload(buf))); err != nil {
		return 0, err
	}
	if err := wire.VerifyBlocks(content(buf), m.Sums); err != nil {
		return 0, err
	}
	runs, n := copyRuns(&m, first, content(buf))
	if n != leafPart {
		return 0, block.Errorf(block.Invalid, "%d blocks instead of the %d that were asked for", n, leafPart)
	}
	src.p.s.fromPeers.Add(uint64(payload(buf)))
	sv.tickets = append(sv.tickets, src.p.h.log.EnqueueCopy(runs))
	return m.Cut, nil
}

var logKinds = [...]logstore.RunKind{wire.RunHole: logstore.RunHole, wire.RunZero: logstore.RunZero, wire.RunData: logstore.RunData}

// copyRuns are the log's runs of what a peer has sent; n is how many blocks
// they have.
func copyRuns(m *wire.Leaf, first block.Index, payload []byte) (runs []logstore.CopyRun, n block.Count) {
	sums := m.Sums
	for _, r := range m.Runs {
		for left := r.Count; left > 0; {
			run := logstore.CopyRun{Block: first + block.Index(n), Count: left, Kind: logKinds[r.Kind], Cut: m.Cut, MaxLSN: m.MaxLSN}
			if r.Kind == wire.RunData {
				run.Count = min(left, block.MaxRecordBlocks)
				k := int(run.Count)
				run.Sums, run.Payload = sums[:k], payload[:k*block.Size]
				sums, payload = sums[k:], payload[k*block.Size:]
			}
			runs = append(runs, run)
			left -= run.Count
			n += run.Count
		}
	}
	return runs, n
}
