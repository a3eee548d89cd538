package integration

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// rawNBD is an NBD client that can break off anywhere, which none that is
// meant for use can.
type rawNBD struct {
	tb testing.TB
	*net.TCPConn
}

// Commands and magic numbers of the NBD spec.
const (
	nbdRequestMagic = 0x25609513
	nbdRead         = 0
	nbdWrite        = 1
	nbdExportName   = 1
)

// dialNBD opens an export by NBD_OPT_EXPORT_NAME, without zeroes.
func dialNBD(tb testing.TB, addr, export string) *rawNBD {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	c := &rawNBD{tb, nc.(*net.TCPConn)}
	tb.Cleanup(func() { c.Close() })
	c.take(18) // NBDMAGIC, IHAVEOPT, flags
	option := binary.BigEndian.AppendUint32(nil, 3)
	option = append(option, "IHAVEOPT"...)
	option = binary.BigEndian.AppendUint32(option, nbdExportName)
	option = binary.BigEndian.AppendUint32(option, uint32(len(export)))
	c.put(append(option, export...))
	c.take(10) // size, flags
	return c
}

func (c *rawNBD) take(n int) []byte {
	c.tb.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.tb.Fatal(err)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.tb.Fatal(err)
	}
	return p
}

func (c *rawNBD) put(p []byte) {
	c.tb.Helper()
	if _, err := c.Write(p); err != nil {
		c.tb.Fatal(err)
	}
}

// header is a request of n bytes.
func header(command uint16, cookie int, off block.Offset, n int) []byte {
	p := binary.BigEndian.AppendUint32(nil, nbdRequestMagic)
	p = binary.BigEndian.AppendUint16(p, 0)
	p = binary.BigEndian.AppendUint16(p, command)
	p = binary.BigEndian.AppendUint64(p, uint64(cookie))
	p = binary.BigEndian.AppendUint64(p, uint64(off))
	return binary.BigEndian.AppendUint32(p, uint32(n))
}

// vanish cuts the connection as a machine that lost its network does when it
// is back: with a reset.
func (c *rawNBD) vanish() {
	c.tb.Helper()
	if err := c.SetLinger(0); err != nil {
		c.tb.Fatal(err)
	}
	c.Close()
}
