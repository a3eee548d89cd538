package stamp

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const diskBlocks = 512

// disk is what a server of these tests serves: an honest one, whose lies are
// functions that a test sets.
type disk struct {
	// lieWrite, if set, does the write instead; lieRead may change what a
	// read returns. The lock is held.
	lieWrite func(at int, p []byte)
	lieRead  func(at int, p []byte)
	// errno, if set, answers a request instead.
	errno func(cmd uint16) uint32

	mu   sync.Mutex
	data []byte
}

func newDisk() *disk { return &disk{data: make([]byte, diskBlocks*block.Size)} }

func (d *disk) write(at int, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lieWrite != nil {
		d.lieWrite(at, p)
		return
	}
	copy(d.data[at:], p)
}

func (d *disk) read(at int, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.data[at:])
	if d.lieRead != nil {
		d.lieRead(at, p)
	}
}

// server is a small NBD server. Requests of one connection run at once and
// are answered in any order.
type server struct {
	disk     *disk
	listener net.Listener

	mu    sync.Mutex
	conns []net.Conn
	// dead: requests that were not yet answered are dropped.
	dead bool
	wg   sync.WaitGroup
}

func serve(t *testing.T, d *disk) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{disk: d, listener: l}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.dead {
				c.Close()
			}
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.client(c) })
		}
	})
	t.Cleanup(s.kill)
	return s
}

func (s *server) uri() string { return "nbd://" + s.listener.Addr().String() + "/disk" }

// kill ends the server: when it returns, no request that was in flight will
// touch the disk any more.
func (s *server) kill() {
	s.listener.Close()
	s.mu.Lock()
	s.dead = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) client(c net.Conn) {
	defer c.Close()
	var send sync.Mutex
	r := bufio.NewReader(c)
	if !greet(c, r) {
		return
	}
	for {
		var head [requestLength]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		cmd, cookie := binary.BigEndian.Uint16(head[6:]), head[8:16]
		at, length := int(binary.BigEndian.Uint64(head[16:])), int(binary.BigEndian.Uint32(head[24:]))
		if cmd == cmdDisc {
			return
		}
		data := make([]byte, length)
		if cmd == cmdWrite {
			if _, err := io.ReadFull(r, data); err != nil {
				return
			}
		}
		s.wg.Go(func() { s.request(c, &send, cmd, slices.Clone(cookie), at, data) })
	}
}

func (s *server) request(c net.Conn, send *sync.Mutex, cmd uint16, cookie []byte, at int, data []byte) {
	s.mu.Lock()
	dead := s.dead
	s.mu.Unlock()
	if dead {
		return
	}
	reply := binary.BigEndian.AppendUint32(nil, magicReply)
	errno := uint32(0)
	if s.disk.errno != nil {
		errno = s.disk.errno(cmd)
	}
	reply = binary.BigEndian.AppendUint32(reply, errno)
	reply = append(reply, cookie...)
	switch {
	case errno != 0:
	case cmd == cmdRead:
		s.disk.read(at, data)
		reply = append(reply, data...)
	case cmd == cmdWrite:
		s.disk.write(at, data)
	}
	send.Lock()
	defer send.Unlock()
	// A client that is gone needs no answer.
	_, _ = c.Write(reply)
}

// greet speaks fixed newstyle and knows NBD_OPT_GO only.
func greet(c net.Conn, r io.Reader) bool {
	b := binary.BigEndian.AppendUint64(nil, magicNBD)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if _, err := c.Write(b); err != nil {
		return false
	}
	var head [20]byte // client flags, magic, option, length
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return false
	}
	opt := make([]byte, binary.BigEndian.Uint32(head[16:]))
	if _, err := io.ReadFull(r, opt); err != nil {
		return false
	}
	reply := func(kind uint32, data []byte) []byte {
		b := binary.BigEndian.AppendUint64(nil, magicOptReply)
		b = binary.BigEndian.AppendUint32(b, optGo)
		b = binary.BigEndian.AppendUint32(b, kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		return append(b, data...)
	}
	if name := string(opt[4 : 4+binary.BigEndian.Uint32(opt)]); name != "disk" {
		_, _ = c.Write(reply(repError|6, []byte("no such export")))
		return false
	}
	info := binary.BigEndian.AppendUint16(nil, infoExport)
	info = binary.BigEndian.AppendUint64(info, diskBlocks*block.Size)
	info = binary.BigEndian.AppendUint16(info, 1)
	_, err := c.Write(append(reply(repInfo, info), reply(repAck, nil)...))
	return err == nil
}
