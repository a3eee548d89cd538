package nbd

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
)

const (
	// holeMin is the shortest run of zeroes that is sent as a hole.
	holeMin = 4096
	// holesMax bounds the holes in one reply; further zeroes are sent as
	// data.
	holesMax = 32
	// extentsMax bounds the extents of one block status reply; the client
	// asks again from where it ends (rule 32).
	extentsMax = 8192
)

// reply queues the reply to t, which belongs to it from then on. Errors of
// Queue mean that the connection has ended; the reader sees that too.
func (c *conn) reply(t *task, e Errno, cause error) {
	switch {
	case t.req.Op == OpRead && e == OK:
		c.replyData(t)
	case t.req.Op == OpBlockStatus && e == OK:
		c.replyStatus(t)
	case c.structured && (t.req.Op == OpRead || t.req.Op == OpBlockStatus):
		c.replyError(t, e, cause)
	default:
		t.dropData()
		c.replySimple(t, e, nil)
	}
}

// replySimple queues a simple reply; data only for a successful read (rule 28).
func (c *conn) replySimple(t *task, e Errno, data []byte) {
	var head [simpleReplyBytes]byte
	putSimpleReply(&head, t.cookie, e)
	_ = c.w.Queue(head[:], data, t)
}

// replyData queues what a read has found.
func (c *conn) replyData(t *task) {
	var data []byte
	if t.req.Data != nil {
		data = t.req.Data.Bytes()
	}
	if len(t.req.Extents) > 0 && data != nil {
		t.findHoles(data, c.structured && t.flags&cmdFlagDF == 0)
		if len(t.holes) > 0 {
			c.replySparse(t, data)
			return
		}
	}
	if !c.structured {
		c.replySimple(t, OK, data)
		return
	}
	var scratch [dataChunkBytes]byte
	head := scratch[:0]
	if len(data) == 0 { // a data chunk must not be empty (rule 29)
		head = appendChunk(head, chunkFlagDone, chunkNone, t.cookie, 0)
	} else {
		head = appendChunk(head, chunkFlagDone, chunkOffsetData, t.cookie, 8+len(data))
		head = binary.BigEndian.AppendUint64(head, uint64(t.req.Offset))
	}
	_ = c.w.Queue(head, data, t)
}

// run is a part of a read's data.
type run struct{ start, end int }

// findHoles puts into t.holes the runs of zeroes that are worth a chunk of
// their own, merged and in order, and fills the others with zeroes. Without
// wanted (simple replies, or the DF flag, rule 31) all are filled.
func (t *task) findHoles(data []byte, wanted bool) {
	t.holes = t.holes[:0]
	pos := 0
	zero := run{}
	flush := func() {
		switch {
		case wanted && zero.end-zero.start >= holeMin && len(t.holes) < holesMax:
			t.holes = append(t.holes, zero)
		default:
			clear(data[zero.start:zero.end])
		}
	}
	for _, x := range t.req.Extents {
		end := pos + int(min(x.Length, block.ByteCount(len(data)-pos)))
		if x.Zero {
			if zero.end != pos {
				flush()
				zero = run{start: pos}
			}
			zero.end = end
		}
		pos = end
	}
	flush()
}

// replySparse queues a read's data as chunks of data and holes, the last one
// marked as such (rule 29).
func (c *conn) replySparse(t *task, data []byte) {
	most := 2*len(t.holes) + 1
	if cap(t.head) < most*holeChunkBytes {
		t.head = make([]byte, 0, most*holeChunkBytes) // not moved by the appends below
	}
	t.head, t.pieces = t.head[:0], t.pieces[:0]
	pos := 0
	for _, hole := range t.holes {
		if pos < hole.start {
			t.addDataChunk(data, run{pos, hole.start})
		}
		t.addHoleChunk(hole, hole.end == len(data))
		pos = hole.end
	}
	if pos < len(data) {
		t.addDataChunk(data, run{pos, len(data)})
	}
	t.pieces[len(t.pieces)-1].Owner = t
	_ = c.w.QueueAll(t.pieces)
}

func doneFlag(last bool) uint16 {
	if last {
		return chunkFlagDone
	}
	return 0
}

func (t *task) addDataChunk(data []byte, r run) {
	at := len(t.head)
	t.head = appendChunk(t.head, doneFlag(r.end == len(data)), chunkOffsetData, t.cookie, 8+r.end-r.start)
	t.head = binary.BigEndian.AppendUint64(t.head, uint64(t.req.Offset)+uint64(r.start))
	t.pieces = append(t.pieces, boxcar.Piece{Head: t.head[at:], Body: data[r.start:r.end]})
}

func (t *task) addHoleChunk(r run, last bool) {
	at := len(t.head)
	t.head = appendChunk(t.head, doneFlag(last), chunkOffsetHole, t.cookie, 12)
	t.head = binary.BigEndian.AppendUint64(t.head, uint64(t.req.Offset)+uint64(r.start))
	t.head = binary.BigEndian.AppendUint32(t.head, uint32(r.end-r.start))
	t.pieces = append(t.pieces, boxcar.Piece{Head: t.head[at:]})
}

// replyStatus queues the extents of a block status: one chunk for the one
// context, neighbours of one kind merged, nothing past the request, with
// NBD_CMD_FLAG_REQ_ONE only the first (rule 32).
func (c *conn) replyStatus(t *task) {
	const fixed = chunkBytes + 4
	limit := extentsMax
	if t.flags&cmdFlagReqOne != 0 {
		limit = 1
	}
	p := append(t.head[:0], make([]byte, fixed)...)
	left := t.req.Length
	lastFlags := ^uint32(0)
	count := 0
	for _, x := range t.req.Extents {
		n := min(x.Length, left)
		if n == 0 {
			continue
		}
		flags := statusFlags(x)
		if flags == lastFlags {
			at := len(p) - extentBytes
			binary.BigEndian.PutUint32(p[at:], binary.BigEndian.Uint32(p[at:])+uint32(n))
		} else {
			if count == limit {
				break
			}
			count++
			p = appendExtent(p, n, flags)
			lastFlags = flags
		}
		left -= n
	}
	if count == 0 { // a device that knows nothing: all of it is data
		p = appendExtent(p, left, 0)
	}
	appendChunk(p[:0], chunkFlagDone, chunkBlockStatus, t.cookie, len(p)-chunkBytes)
	binary.BigEndian.PutUint32(p[chunkBytes:], allocationID)
	t.head = p
	_ = c.w.Queue(p, nil, t)
}

func appendExtent(p []byte, n block.ByteCount, flags uint32) []byte {
	p = binary.BigEndian.AppendUint32(p, uint32(n))
	return binary.BigEndian.AppendUint32(p, flags)
}

func statusFlags(x Extent) uint32 {
	f := uint32(0)
	if x.Hole {
		f |= statusHole
	}
	if x.Zero {
		f |= statusZero
	}
	return f
}

// replyError queues an error chunk, with the cause for people (rule 30).
func (c *conn) replyError(t *task, e Errno, cause error) {
	t.dropData()
	message := ""
	if cause != nil {
		message = clip(cause.Error(), messageBytesMax)
	}
	p := appendChunk(t.head[:0], chunkFlagDone, chunkError, t.cookie, 6+len(message))
	p = binary.BigEndian.AppendUint32(p, uint32(e))
	p = binary.BigEndian.AppendUint16(p, uint16(len(message)))
	p = append(p, message...)
	t.head = p
	_ = c.w.Queue(p, nil, t)
}
