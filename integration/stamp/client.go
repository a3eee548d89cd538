package stamp

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
)

// Numbers of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md).
const (
	magicNBD      = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption   = 0x49484156454F5054 // "IHAVEOPT"
	magicOptReply = 0x3e889045565a9
	magicRequest  = 0x25609513
	magicReply    = 0x67446698

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
	optGo             = 7
	repAck            = 1
	repInfo           = 3
	repError          = 1 << 31
	infoExport        = 0

	cmdRead  = 0
	cmdWrite = 1
	cmdDisc  = 2
	cmdFlush = 3
	cmdTrim  = 4

	requestLength = 28
	replyLength   = 16
	// maxOptReply bounds what a server may answer to an option.
	maxOptReply = 64 << 10
)

// Conn is a connection to one export. Its calls may be made from any
// goroutine; many may be in flight.
type Conn struct {
	conn net.Conn
	size block.ByteCount

	// send guards the writing half of conn.
	send sync.Mutex

	mu struct {
		sync.Mutex
		next  uint64
		calls map[uint64]*call
		// err is why the connection ended; no call is taken after that.
		err error
	}
	ended chan struct{}
}

// call is a request in flight.
type call struct {
	into []byte // where a read's data goes
	done chan error
}

// Dial connects to the export of an NBD URI and makes it ready for requests.
// Error kinds: Invalid (the URI), Unavailable, NotFound (the server refuses
// the export).
func Dial(ctx context.Context, uri string) (*Conn, error) {
	e, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, e.network, e.address)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "connecting to %s", uri)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	r := bufio.NewReaderSize(nc, 256<<10)
	size, err := handshake(nc, r, e.export)
	if !stop() && err == nil {
		err = block.Wrap(block.Unavailable, ctx.Err(), "greeting %s", uri)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	c := &Conn{conn: nc, size: size, ended: make(chan struct{})}
	c.mu.calls = map[uint64]*call{}
	go c.readReplies(r)
	return c, nil
}

// Size is the length of the export.
func (c *Conn) Size() block.ByteCount { return c.size }

// Close says goodbye and ends the connection. Calls in flight fail.
func (c *Conn) Close() {
	c.send.Lock()
	// The server may be gone already: then there is nobody to tell.
	_, _ = c.conn.Write(request(cmdDisc, 0, 0, 0))
	c.send.Unlock()
	c.conn.Close()
	<-c.ended
}

// Abandon ends the connection without a goodbye, whatever it is doing. Calls in
// flight fail.
func (c *Conn) Abandon() {
	c.conn.Close()
	<-c.ended
}

// Read fills p from off on. Error kinds: Invalid and others as the server
// says; Closed if the connection broke.
func (c *Conn) Read(p []byte, off block.Offset) error {
	return c.do(cmdRead, off, len(p), nil, p)
}

// Write writes p at off. When it returns nil, the server has acknowledged.
// Error kinds: as the server says; Closed if the connection broke, and then
// nobody knows whether the write will happen.
func (c *Conn) Write(p []byte, off block.Offset) error {
	return c.do(cmdWrite, off, len(p), p, nil)
}

// Flush asks that all that was acknowledged is durable.
func (c *Conn) Flush() error { return c.do(cmdFlush, 0, 0, nil, nil) }

// Trim gives n bytes at off back. Error kinds: as for Write.
func (c *Conn) Trim(off block.Offset, n block.ByteCount) error {
	return c.do(cmdTrim, off, int(n), nil, nil)
}

func (c *Conn) do(cmd uint16, off block.Offset, length int, out, into []byte) error {
	k := &call{into: into, done: make(chan error, 1)}
	c.mu.Lock()
	if err := c.mu.err; err != nil {
		c.mu.Unlock()
		return err
	}
	c.mu.next++
	cookie := c.mu.next
	c.mu.calls[cookie] = k
	c.mu.Unlock()

	c.send.Lock()
	bufs := net.Buffers{request(cmd, cookie, off, length), out}
	_, err := bufs.WriteTo(c.conn)
	c.send.Unlock()
	if err != nil {
		// The reader finds the same, and fails all calls, this one too.
		c.conn.Close()
	}
	return <-k.done
}

func request(cmd uint16, cookie uint64, off block.Offset, length int) []byte {
	b := make([]byte, requestLength)
	binary.BigEndian.PutUint32(b, magicRequest)
	binary.BigEndian.PutUint16(b[6:], cmd)
	binary.BigEndian.PutUint64(b[8:], cookie)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(length))
	return b
}

// readReplies hands replies to their calls until the connection ends.
func (c *Conn) readReplies(r *bufio.Reader) {
	err := c.readUntilEnd(r)
	c.conn.Close()
	c.mu.Lock()
	c.mu.err = block.Wrap(block.Closed, err, "the NBD connection to %s ended", c.conn.RemoteAddr())
	for _, k := range c.mu.calls {
		k.done <- c.mu.err
	}
	c.mu.calls = nil
	c.mu.Unlock()
	close(c.ended)
}

func (c *Conn) readUntilEnd(r *bufio.Reader) error {
	var head [replyLength]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		if m := binary.BigEndian.Uint32(head[:]); m != magicReply {
			return block.Errorf(block.Corrupt, "reply with magic %#x", m)
		}
		errno, cookie := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[8:])
		c.mu.Lock()
		k := c.mu.calls[cookie]
		c.mu.Unlock()
		if k == nil {
			return block.Errorf(block.Corrupt, "reply to a request %d that is not in flight", cookie)
		}
		// The call stays listed until its data is there: if the
		// connection breaks now, it fails with the others.
		if errno == 0 && k.into != nil {
			if _, err := io.ReadFull(r, k.into); err != nil {
				return err
			}
		}
		c.mu.Lock()
		delete(c.mu.calls, cookie)
		c.mu.Unlock()
		k.done <- replyError(errno)
	}
}

// replyError is the error that an NBD errno stands for; nil for 0.
func replyError(errno uint32) error {
	if errno == 0 {
		return nil
	}
	kinds := map[uint32]block.Kind{1: block.ReadOnly, 5: block.Unavailable, 22: block.Invalid, 28: block.NoSpace, 108: block.Closed}
	return block.Errorf(kinds[errno], "the server answered with NBD error %d", errno)
}

// handshake is fixed newstyle with NBD_OPT_GO. It gives the export's size.
func handshake(w io.Writer, r io.Reader, export string) (block.ByteCount, error) {
	var hello [18]byte
	if _, err := io.ReadFull(r, hello[:]); err != nil {
		return 0, block.Wrap(block.Unavailable, err, "waiting for the NBD greeting")
	}
	flags := binary.BigEndian.Uint16(hello[16:])
	if binary.BigEndian.Uint64(hello[:]) != magicNBD || binary.BigEndian.Uint64(hello[8:]) != magicOption || flags&flagFixedNewstyle == 0 {
		return 0, block.Errorf(block.Unavailable, "no NBD server of the fixed newstyle: it greets with %x", hello)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(flags&(flagFixedNewstyle|flagNoZeroes)))
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint32(b, optGo)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(export)+2))
	b = binary.BigEndian.AppendUint32(b, uint32(len(export)))
	b = append(b, export...)
	b = binary.BigEndian.AppendUint16(b, 0)
	if _, err := w.Write(b); err != nil {
		return 0, block.Wrap(block.Unavailable, err, "asking for export %q", export)
	}
	return goReplies(r, export)
}

func goReplies(r io.Reader, export string) (size block.ByteCount, err error) {
	for {
		var head [20]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, block.Wrap(block.Unavailable, err, "waiting for export %q", export)
		}
		kind, n := binary.BigEndian.Uint32(head[12:]), binary.BigEndian.Uint32(head[16:])
		if binary.BigEndian.Uint64(head[:]) != magicOptReply || n > maxOptReply {
			return 0, block.Errorf(block.Unavailable, "not an option reply: %x", head)
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return 0, block.Wrap(block.Unavailable, err, "waiting for export %q", export)
		}
		switch {
		case kind&repError != 0:
			return 0, block.Errorf(block.NotFound, "the server refuses export %q: error %#x %s", export, kind, data)
		case kind == repAck:
			return size, nil
		case kind == repInfo && n >= 10 && binary.BigEndian.Uint16(data) == infoExport:
			size = block.ByteCount(binary.BigEndian.Uint64(data[2:]))
		}
	}
}
