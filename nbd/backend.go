package nbd

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// Export is what a client may learn of an export without opening it.
type Export struct {
	Name        string
	Description string
	Size        block.ByteCount
	ReadOnly    bool
	// MinBlock is the smallest unit of requests, PreferredBlock the one
	// that needs no read-modify-write; both in bytes, powers of two.
	MinBlock, PreferredBlock uint32
}

// Backend is where exports come from. The server calls List and Describe for
// LIST and INFO, which never open anything; Open is called for GO and
// EXPORT_NAME only.
type Backend interface {
	// List names all exports.
	List(ctx context.Context) ([]Export, error)
	// Describe tells of one export; "" means the default one. Error kinds:
	// NotFound, Unavailable.
	Describe(ctx context.Context, name string) (Export, error)
	// Open makes an export ready for requests; it may take its lease. The
	// server closes the Device when the connection has ended. Several
	// connections may open the same export. Error kinds: NotFound, Held,
	// Unavailable, ReadOnly.
	Open(ctx context.Context, name string) (Device, Export, error)
}

// Device is an opened export, as one connection sees it. What one connection
// has been told is done, all connections see (NBD_FLAG_CAN_MULTI_CONN).
type Device interface {
	// Submit starts r and returns without waiting for it to be done; it may
	// block for back-pressure. The device calls r.Complete exactly once,
	// from any goroutine, perhaps before Submit returns. The device may
	// hold back work until Kick, to send many requests together.
	Submit(r *Request)
	// Kick tells that no further request is at hand: the device must now
	// send off all that it has collected.
	Kick()
	// Close is called when all submitted requests are complete.
	Close() error
}

// Op is what a request asks for.
type Op uint8

// The operations of a Device. The server has validated ranges and flags
// before Submit.
const (
	OpRead Op = iota + 1
	OpWrite
	OpFlush
	OpTrim
	OpWriteZeroes
	OpCache
	OpBlockStatus
)

// Extent is a run of one kind, for OpBlockStatus and for sparse reads.
type Extent struct {
	Length block.ByteCount
	// Hole: nothing is allocated there; Zero: it reads as zeroes.
	Hole, Zero bool
}

// Request is one operation on a Device.
type Request struct {
	Op     Op
	Offset block.Offset
	Length block.ByteCount
	// FUA asks for durability before Complete. NoHole (OpWriteZeroes) asks
	// that the range stays allocated.
	FUA, NoHole bool

	// Data is the payload of a write, or where a read puts its bytes; its
	// length is Length. The request holds one reference from Submit to
	// Complete; a device that needs it longer retains it.
	Data *slab.Buffer
	// Extents is filled by OpBlockStatus: runs from Offset on, covering at
	// least one byte and at most Length. OpRead may fill it to tell that
	// parts of Data are zeroes (which it need not have written then);
	// nil means that all of Data is filled.
	Extents []Extent

	done func(*Request, error)
}

// Complete tells the server that r is done; err is nil, or has a kind of
// package block that maps to an NBD errno. r must not be used afterwards.
func (r *Request) Complete(err error) { r.done(r, err) }
