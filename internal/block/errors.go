package block

import (
	"errors"
	"fmt"
)

// Kind is the reason for an error, as far as a caller may act on it. Kinds
// are matched with errors.Is, never by text:
//
//	if errors.Is(err, block.Fenced) { ... }
type Kind uint8

// The kinds of error that cross package borders.
const (
	Unknown     Kind = iota // not classified; treat as a failure of the operation
	Invalid                 // the request is wrong and will stay wrong
	NotFound                // the thing named does not exist
	Exists                  // the thing to be made exists already
	Fenced                  // a later epoch holds the volume; this writer is dead (R3)
	Stale                   // the membership epoch is behind; read the configuration again (R27)
	Mismatch                // another cluster, disk, segment or incarnation answered (R1)
	Corrupt                 // bytes are damaged; the message says where
	NoSpace                 // the disk or the store is full
	ReadOnly                // the volume or export takes no writes
	Behind                  // this copy is not complete up to the read-point
	Held                    // another gateway holds the volume
	Closed                  // the thing was closed
	Unavailable             // not now; trying again later may work
	Version                 // made by a newer version of Sextant
)

var kindNames = [...]string{
	"unknown", "invalid", "not found", "exists", "fenced", "stale", "mismatch", "corrupt",
	"no space", "read-only", "behind", "held", "closed", "unavailable", "version",
}

// String names the kind as it is shown to people.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error makes a Kind an error of itself, for errors.Is and for cases where
// the kind says everything.
func (k Kind) Error() string { return k.String() }

// Failure is an error with a kind, a message that says what, where and what
// to do, and perhaps a cause.
type Failure struct {
	Kind    Kind
	Message string
	Cause   error
}

// Error prints the message, then the cause.
func (f *Failure) Error() string {
	if f.Cause == nil {
		return f.Message
	}
	return f.Message + ": " + f.Cause.Error()
}

// Unwrap gives both the kind and the cause to errors.Is and errors.As.
func (f *Failure) Unwrap() []error {
	if f.Cause == nil {
		return []error{f.Kind}
	}
	return []error{f.Kind, f.Cause}
}

// Errorf makes a Failure of kind k. The message is formatted as by
// fmt.Sprintf; a cause is given with Wrap instead of %w.
func Errorf(k Kind, format string, args ...any) error {
	return &Failure{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a Failure of kind k with a cause.
func Wrap(k Kind, cause error, format string, args ...any) error {
	return &Failure{Kind: k, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// KindOf is the kind of the outermost Failure in err's tree, or Unknown.
func KindOf(err error) Kind {
	if err == nil {
		return Unknown
	}
	var f *Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Unknown
}
