package nbd

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Metrics is told what happens. Its methods are called on the data path: they
// must be cheap, must not wait and may be called from many goroutines at
// once. A nil Metrics in Config costs nothing, not even reading the clock.
type Metrics interface {
	// ConnOpened and ConnClosed frame the life of a connection that has
	// opened an export.
	ConnOpened(export string)
	ConnClosed(export string)
	// HandshakeFailed counts connections that ended before they opened an
	// export, but for those that took leave with NBD_OPT_ABORT.
	HandshakeFailed()
	// RequestDone tells of one request when it is complete: took is the
	// time since it was read. A request that ended its connection without
	// a reply has severed set and e is EIO.
	RequestDone(op Op, n block.ByteCount, took time.Duration, e Errno, severed bool)
}

// Stats is a look at a server.
type Stats struct {
	// Conns counts connections, Handshakes those of them that have not
	// opened an export.
	Conns, Handshakes int
	// InFlight is the memory lent to requests of all connections.
	InFlight block.ByteCount
}
