package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

func testIdentity() Identity {
	return Identity{
		Cluster: block.ClusterID{1}, Volume: block.VolumeID{2}, Segment: block.SegmentID{3},
		PG: 4, Epoch: 5, Member: 6,
	}
}

func testWrite() *Write {
	p := bytes.Repeat([]byte{7}, 2*block.Size)
	sums := []block.Sum{block.Checksum(p[:block.Size]), block.Checksum(p[block.Size:])}
	return &Write{
		Identity: testIdentity(),
		Progress: Progress{Floor: 8, Committed: 9, Stamp: 10},
		Records: []Record{
			{Type: RecordOpen, LSN: block.MakeLSN(5, 1), Prev: 3},
			{Type: RecordWrite, LSN: block.MakeLSN(5, 2), Prev: block.MakeLSN(5, 1), Block: 11, Count: 2, Sums: sums, Payload: p},
			{Type: RecordTrim, LSN: block.MakeLSN(5, 3), Prev: block.MakeLSN(5, 2), Block: 0, Count: 1 << 20},
		},
	}
}

// message is what all messages share; payload is what goes with it.
type message interface {
	encode() []byte
	decode(h Header, meta, payload []byte) error
}

type codec struct {
	enc func() []byte
	dec func(h Header, meta, payload []byte) error
}

func (c codec) encode() []byte                              { return c.enc() }
func (c codec) decode(h Header, meta, payload []byte) error { return c.dec(h, meta, payload) }

// codecs gives for each message type a decoder into a fresh message, and the
// encoder of that message.
func codecs() map[Type]message {
	hello, welcome, refuse := &Hello{}, &Welcome{}, &Refuse{}
	join, ping, ack, catchup, fetch := &Join{}, &Ping{}, &Ack{}, &CatchUp{}, &Fetch{}
	write, records, mend := &Write{}, &Write{}, &Mend{}
	read, mapping, data, runs := &Read{}, &Read{}, &Data{}, &Data{}
	leaves, marks, take, leaf := &Leaves{}, &Marks{}, &Take{}, &Leaf{}
	standing, standings, digest, digests := &Standing{}, &Standings{}, &Digest{}, &Digests{}
	plain := func(dec func([]byte) error) func(Header, []byte, []byte) error {
		return func(_ Header, meta, _ []byte) error { return dec(meta) }
	}
	return map[Type]message{
		TypeHello:     codec{func() []byte { return hello.Append(nil, 1) }, plain(hello.Decode)},
		TypeWelcome:   codec{func() []byte { return welcome.Append(nil, 1) }, plain(welcome.Decode)},
		TypeRefuse:    codec{func() []byte { return refuse.Append(nil, 1) }, plain(refuse.Decode)},
		TypeJoin:      codec{func() []byte { return join.Append(nil, 1) }, plain(join.Decode)},
		TypePing:      codec{func() []byte { return ping.Append(nil, 1) }, plain(ping.Decode)},
		TypeAck:       codec{func() []byte { return ack.Append(nil, 1) }, plain(ack.Decode)},
		TypeCatchUp:   codec{func() []byte { return catchup.Append(nil, 1) }, plain(catchup.Decode)},
		TypeFetch:     codec{func() []byte { return fetch.Append(nil, 1) }, plain(fetch.Decode)},
		TypeLeaves:    codec{func() []byte { return leaves.Append(nil, 1) }, plain(leaves.Decode)},
		TypeMarks:     codec{func() []byte { return marks.Append(nil, 1) }, plain(marks.Decode)},
		TypeTake:      codec{func() []byte { return take.Append(nil, 1) }, plain(take.Decode)},
		TypeStanding:  codec{func() []byte { return standing.Append(nil, 1) }, plain(standing.Decode)},
		TypeStandings: codec{func() []byte { return standings.Append(nil, 1) }, plain(standings.Decode)},
		TypeDigest:    codec{func() []byte { return digest.Append(nil, 1) }, plain(digest.Decode)},
		TypeDigests:   codec{func() []byte { return digests.Append(nil, 1) }, plain(digests.Decode)},
		TypeLeaf: codec{func() []byte { return leaf.Append(nil, 1) },
			func(h Header, meta, _ []byte) error { return leaf.Decode(meta, h.PayloadLen) }},
		TypeWrite: codec{func() []byte { return write.Append(nil, TypeWrite, 1) },
			func(_ Header, meta, payload []byte) error { return write.Decode(meta, payload) }},
		TypeRecords: codec{func() []byte { return records.Append(nil, TypeRecords, 1) },
			func(_ Header, meta, payload []byte) error { return records.Decode(meta, payload) }},
		TypeMend: codec{func() []byte { return mend.Append(nil, 1) },
			func(h Header, meta, _ []byte) error { return mend.Decode(meta, h.PayloadLen) }},
		TypeRead: codec{func() []byte { return read.Append(nil, TypeRead, 1) },
			func(_ Header, meta, _ []byte) error { return read.Decode(meta, TypeRead) }},
		TypeMap: codec{func() []byte { return mapping.Append(nil, TypeMap, 1) },
			func(_ Header, meta, _ []byte) error { return mapping.Decode(meta, TypeMap) }},
		TypeData: codec{func() []byte { return data.Append(nil, TypeData, 1) },
			func(h Header, meta, _ []byte) error { return data.Decode(meta, TypeData, h.PayloadLen) }},
		TypeRuns: codec{func() []byte { return runs.Append(nil, TypeRuns, 1) },
			func(h Header, meta, _ []byte) error { return runs.Decode(meta, TypeRuns, h.PayloadLen) }},
	}
}

// samples are frames of every type, with their payloads.
func samples() map[Type][]byte {
	id := testIdentity()
	w := testWrite()
	block0 := bytes.Repeat([]byte{9}, block.Size)
	sum := []block.Sum{block.Checksum(block0)}
	with := func(frame []byte, payload ...[]byte) []byte { return append(frame, bytes.Join(payload, nil)...) }
	records := &Write{Identity: id, Records: w.Records}
	return map[Type][]byte{
		TypeHello:   (&Hello{Cluster: id.Cluster, Disk: block.DiskID{9}, Purpose: ForReads, Node: "n1", Sender: "gw"}).Append(nil, 1),
		TypeWelcome: (&Welcome{Cluster: id.Cluster, Disk: block.DiskID{9}, Boot: 3, Node: "n1"}).Append(nil, 1),
		TypeRefuse:  (&Refuse{Kind: block.Fenced, Epoch: 6, Member: 7, Message: "epoch 6 holds it"}).Append(nil, 1),
		TypeJoin:    (&Join{Identity: id, Progress: w.Progress}).Append(nil, 1),
		TypePing:    (&Ping{Identity: id, Progress: w.Progress}).Append(nil, 1),
		TypeAck:     (&Ack{Identity: id, SCL: 11, Floor: 10, Stamp: 12, Damaged: true, CatchingUp: true}).Append(nil, 1),
		TypeCatchUp: (&CatchUp{Identity: id, UpTo: 12, DonorSegment: block.SegmentID{8}, DonorDisk: block.DiskID{9},
			DonorNode: "n2", DonorAddress: "127.0.0.1:1"}).Append(nil, 1),
		TypeFetch:   (&Fetch{Identity: id, After: 1, UpTo: 2}).Append(nil, 1),
		TypeWrite:   with(w.Append(nil, TypeWrite, 1), w.Records[1].Payload),
		TypeRecords: with(records.Append(nil, TypeRecords, 1), w.Records[1].Payload),
		TypeMend:    with((&Mend{Identity: id, Block: 4, Count: 1, Sums: sum}).Append(nil, 1), block0),
		TypeRead:    (&Read{Identity: id, At: 7, Block: 1, Count: 2, Home: true, Mending: true}).Append(nil, TypeRead, 1),
		TypeMap:     (&Read{Identity: id, At: 7, Block: 1, Count: 1 << 20}).Append(nil, TypeMap, 1),
		TypeData: with((&Data{Runs: []Run{{1, RunHole}, {1, RunData}}, Sums: sum}).
			Append(nil, TypeData, 1), block0),
		TypeLeaves:    (&Leaves{Identity: id, After: 7, Block: 1024}).Append(nil, 1),
		TypeMarks:     (&Marks{Cut: 9, Marks: []Mark{{0, 8}, {512, 9}}}).Append(nil, 1),
		TypeTake:      (&Take{Identity: id, Block: 512, Count: 256}).Append(nil, 1),
		TypeLeaf:      with((&Leaf{Cut: 9, MaxLSN: 8, Data: Data{Runs: []Run{{1, RunData}, {255, RunZero}}, Sums: sum}}).Append(nil, 1), block0),
		TypeStanding:  (&Standing{Places: []Place{{id.Volume, id.Segment, 1}, {id.Volume, block.SegmentID{7}, 2}}}).Append(nil, 1),
		TypeStandings: (&Standings{Stands: []Stand{{}, {Here: true, Hydrating: true, Epoch: 3, Member: 1, SCL: 9, Readable: 8}}}).Append(nil, 1),
		TypeDigest:    (&Digest{Identity: id, At: 7, Block: 512, Leaves: 3}).Append(nil, 1),
		TypeDigests:   (&Digests{Digests: []LeafDigest{1, 0, 2}}).Append(nil, 1),
		TypeRuns:      (&Data{Runs: []Run{{1, RunHole}, {1 << 20, RunData}}}).Append(nil, TypeRuns, 1),
	}
}

func TestEveryMessageSurvivesTheWire(t *testing.T) {
	all := codecs()
	for typ, frame := range samples() {
		r := NewReader(bytes.NewReader(frame))
		h, meta, err := r.Next()
		if err != nil {
			t.Fatalf("%v: %v", typ, err)
		}
		if h.Type != typ || h.Tag != 1 {
			t.Errorf("%v: header says %v tag %d", typ, h.Type, h.Tag)
		}
		payload := make([]byte, h.PayloadLen)
		if err := r.Payload(payload); err != nil {
			t.Fatalf("%v: payload: %v", typ, err)
		}
		if err := all[typ].decode(h, meta, payload); err != nil {
			t.Fatalf("%v: decode: %v", typ, err)
		}
		if again := append(all[typ].encode(), payload...); !bytes.Equal(again, frame) {
			t.Errorf("%v: encode(decode(x)) differs:\n%x\n%x", typ, again, frame)
		}
	}
	if len(all) != len(typeNames)-1 || len(samples()) != len(all) {
		t.Errorf("%d codecs and %d samples for %d message types", len(all), len(samples()), len(typeNames)-1)
	}
}

func TestPingBytesArePinned(t *testing.T) {
	p := &Ping{Identity: testIdentity(), Progress: Progress{Floor: 8, Committed: 9, Stamp: 10}}
	want := "53585477" + "02" + "05" + "0000" + "58000000" + "00000000" + "4d00000000000000" + "00000000" + "f78747ba" +
		"01000000000000000000000000000000" + "02000000000000000000000000000000" + "03000000000000000000000000000000" +
		"04000000" + "05000000" + "06000000" + "00000000" +
		"0800000000000000" + "0900000000000000" + "0a00000000000000"
	if got := hex.EncodeToString(p.Append(nil, 0x4d)); got != want {
		t.Errorf("PING is\n%s, want\n%s", got, want)
	}
}

func TestDamagedFramesAreRefused(t *testing.T) {
	for typ, frame := range samples() {
		h, err := ParseHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		for i := range HeaderSize + h.MetaLen {
			bad := bytes.Clone(frame)
			bad[i] ^= 0x10
			if _, _, err := NewReader(bytes.NewReader(bad)).Next(); err == nil {
				t.Errorf("%v: byte %d flipped and not noticed", typ, i)
			}
		}
	}
}

// TestB3PayloadIsVerified flips one byte of a record's payload.
func TestB3PayloadIsVerified(t *testing.T) {
	w := testWrite()
	if err := w.Records[1].Verify(); err != nil {
		t.Fatal(err)
	}
	w.Records[1].Payload[block.Size+5] ^= 1
	if err := w.Records[1].Verify(); !errors.Is(err, block.Corrupt) {
		t.Errorf("damaged payload: %v, want kind corrupt", err)
	}
}

func TestReaderTellsWholeFrames(t *testing.T) {
	ping := samples()[TypePing]
	write := samples()[TypeWrite]
	pr, pw := io.Pipe()
	go func() {
		pw.Write(append(bytes.Clone(ping), write[:len(write)-1]...))
		pw.Write(write[len(write)-1:])
		pw.Close()
	}()
	r := NewReader(pr)
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if r.Buffered() {
		t.Error("a frame that lacks a byte counts as buffered")
	}
	h, _, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Payload(make([]byte, h.PayloadLen)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestRoomKeepsFramesWithinBounds(t *testing.T) {
	payload := make([]byte, block.MaxRecordBytes)
	big := Record{Type: RecordWrite, LSN: 2, Prev: 1, Count: block.MaxRecordBlocks, Sums: make([]block.Sum, block.MaxRecordBlocks), Payload: payload}
	small := Record{Type: RecordWrite, LSN: 2, Prev: 1, Count: 1, Sums: make([]block.Sum, 1), Payload: payload[:block.Size]}
	trim := Record{Type: RecordTrim, LSN: 2, Prev: 1, Count: 1}
	for _, r := range []Record{big, small, trim} {
		w := Write{Identity: testIdentity()}
		meta, bytes := 0, 0
		for Room(len(w.Records), meta, bytes, &r) {
			w.Records = append(w.Records, r)
			meta += r.MetaSize()
			bytes += len(r.Payload)
		}
		h, err := ParseHeader(w.Append(nil, TypeWrite, 0))
		if err != nil {
			t.Errorf("frame filled to the brim with %d records: %v", len(w.Records), err)
		}
		if h.PayloadLen != bytes || len(w.Records) == 0 {
			t.Errorf("%d records, %d bytes of payload announced, %d filled", len(w.Records), h.PayloadLen, bytes)
		}
	}
}

func TestDecodeUsesSlicesAgain(t *testing.T) {
	frame := samples()[TypeWrite]
	h, _ := ParseHeader(frame)
	meta, payload := frame[HeaderSize:HeaderSize+h.MetaLen], frame[HeaderSize+h.MetaLen:]
	var w Write
	if err := w.Decode(meta, payload); err != nil {
		t.Fatal(err)
	}
	first := testWrite()
	if !reflect.DeepEqual(w.Records[1], first.Records[1]) || w.Identity != first.Identity {
		t.Errorf("decoded %+v", w)
	}
	if n := testing.AllocsPerRun(100, func() { _ = w.Decode(meta, payload) }); n != 0 {
		t.Errorf("%v allocations to decode into a used message, want none", n)
	}
}

func FuzzFrame(f *testing.F) {
	for _, frame := range samples() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		all := codecs()
		for {
			h, meta, err := r.Next()
			if err != nil {
				return
			}
			payload := make([]byte, h.PayloadLen)
			if r.Payload(payload) != nil {
				return
			}
			m, ok := all[h.Type]
			if !ok || m.decode(h, meta, payload) != nil {
				continue
			}
			again := m.encode()
			if !bytes.Equal(again[HeaderSize:], meta) {
				t.Fatalf("%v: encode(decode(x)) differs:\n%x\n%x", h.Type, again[HeaderSize:], meta)
			}
		}
	})
}

// FuzzMeta goes past the frame's checksum straight to the decoders.
func FuzzMeta(f *testing.F) {
	for typ, frame := range samples() {
		h, _ := ParseHeader(frame)
		f.Add(uint8(typ), frame[HeaderSize:HeaderSize+h.MetaLen], frame[HeaderSize+h.MetaLen:])
	}
	f.Fuzz(func(t *testing.T, typ uint8, meta, payload []byte) {
		m, ok := codecs()[Type(typ)]
		if !ok || len(meta) > MaxMeta || m.decode(Header{Type: Type(typ), PayloadLen: len(payload)}, meta, payload) != nil {
			return
		}
		if again := m.encode(); !bytes.Equal(again[HeaderSize:], meta) {
			t.Fatalf("%v: encode(decode(x)) differs:\n%x\n%x", Type(typ), again[HeaderSize:], meta)
		}
	})
}
