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
	// send off all that it has collected. When Kick returns the server
	// flushes this connection, so a device that completes within Submit or
	// Kick may use CompleteLater and flush nothing itself.
	Kick()
	// Close is called when all submitted requests are complete.
	Close() error
}

// Op is what a request asks for.
type Op uint8

// The operations of a Device. The server has validated ranges and flags
// before Submit, and answers requests of length zero itself.
const (
	OpRead        Op = iota + 1
	OpWrite          // done: visible to all connections; with FUA also durable
	OpFlush          // every write completed before its Submit, on any connection, is durable (rule 24)
	OpTrim           // may be rounded inward to the device's blocks
	OpWriteZeroes    // never slower than OpWrite: NBD_FLAG_SEND_FAST_ZERO is always offered (rule 36)
	OpCache          // a hint, changes nothing
	OpBlockStatus
)

var opNames = [...]string{"other", "read", "write", "flush", "trim", "write-zeroes", "cache", "block-status"}

// String is the operation's name in logs and metrics; the zero Op, a command
// that the server does not know, is "other".
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return opNames[0]
}

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
	// Complete; a device that needs it longer retains it. It is nil for
	// the other operations, whose Length may be up to 4 GiB - 1.
	Data *slab.Buffer
	// Extents is filled by OpBlockStatus: runs from Offset on, covering at
	// least one byte and at most Length. OpRead may fill it to tell that
	// parts of Data are zeroes (which it need not have written then);
	// empty means that all of Data is filled. It comes empty, perhaps with
	// capacity: append to it.
	Extents []Extent

	owner completer
}

// completer is who waits for a Request.
type completer interface {
	complete(r *Request, err error, later bool)
	flusher() Flusher
}

// Complete tells the server that r is done, and sends the reply. err is nil,
// or has a kind of package block: Invalid, NoSpace and ReadOnly map to an
// errno of their own, others to EIO.
//
// Kinds Fenced, Held and Closed send no reply and end the connection: this
// gateway has lost the volume, and what becomes of the request is not known.
// It must be told neither as done nor as failed (trap T32); the client
// connects again and sends it again.
//
// r must not be used afterwards. Complete never waits for the client, and
// takes no lock during which a Device is called: it may be called with locks
// of the device held.
func (r *Request) Complete(err error) { r.owner.complete(r, err, false) }

// CompleteLater is Complete without sending the reply yet: it goes out with
// the next flush of the connection. Who completes many requests at once takes
// the Conn of each before, and flushes each distinct one once:
//
//	conn := r.Conn()
//	r.CompleteLater(nil)
//	...
//	conn.Flush()
func (r *Request) CompleteLater(err error) { r.owner.complete(r, err, true) }

// Conn is the connection that r came from. Values can be compared with == and
// stay valid after r is complete, even after the connection has ended.
func (r *Request) Conn() Flusher { return r.owner.flusher() }

// Flusher sends the replies that wait on a connection.
type Flusher interface {
	// Flush sends what is queued and never waits for the client. With
	// nothing queued it costs a mutex.
	Flush()
}

// NewRequest makes a request that comes from no connection, for tests and
// tools: done is called once, by Complete or CompleteLater.
func NewRequest(op Op, off block.Offset, n block.ByteCount, data *slab.Buffer, done func(*Request, error)) *Request {
	return &Request{Op: op, Offset: off, Length: n, Data: data, owner: callback{done}}
}

// callback completes a request without a connection.
type callback struct{ done func(*Request, error) }

func (c callback) complete(r *Request, err error, _ bool) { c.done(r, err) }
func (c callback) flusher() Flusher                       { return noConn }

// noConn is the Conn of all requests without one.
var noConn Flusher = &nothingToFlush{}

type nothingToFlush struct{ _ byte }

func (*nothingToFlush) Flush() {}
