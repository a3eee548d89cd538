package nbd

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
)

// Errno is an error number of the protocol (NBD spec, "Error values").
type Errno uint32

// The error numbers that a server may send; 0 is success.
const (
	OK        Errno = 0
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

// String is the name that the specification uses.
func (e Errno) String() string {
	switch e {
	case OK:
		return "OK"
	case EPERM:
		return "EPERM"
	case EIO:
		return "EIO"
	case ENOMEM:
		return "ENOMEM"
	case EINVAL:
		return "EINVAL"
	case ENOSPC:
		return "ENOSPC"
	case EOVERFLOW:
		return "EOVERFLOW"
	case ENOTSUP:
		return "ENOTSUP"
	case ESHUTDOWN:
		return "ESHUTDOWN"
	}
	return fmt.Sprintf("errno(%d)", uint32(e))
}

// errnoOf maps a Device's error to what the client is told (rule 34). Kinds
// that severs names have no errno: they never get here.
func errnoOf(err error) Errno {
	if err == nil {
		return OK
	}
	switch block.KindOf(err) {
	case block.Invalid:
		return EINVAL
	case block.NoSpace:
		return ENOSPC
	case block.ReadOnly:
		return EPERM
	}
	return EIO
}

// severs reports whether err ends the connection without a reply (trap T32).
// When this gateway has lost the volume to another, a write that was not
// acknowledged is neither done nor failed: it may yet show. The client is
// told neither; it reconnects and sends the request again.
func severs(err error) bool {
	if err == nil {
		return false
	}
	switch block.KindOf(err) {
	case block.Fenced, block.Held, block.Closed:
		return true
	}
	return false
}

// refusal maps an error of the Backend to an option reply.
func refusal(err error) replyType {
	switch block.KindOf(err) {
	case block.Invalid:
		return repErrInvalid
	case block.Held, block.ReadOnly:
		return repErrPolicy
	case block.Closed:
		return repErrShutdown
	}
	return repErrUnknown
}
