package metadata

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// kinds maps block's kinds to numbers that never change, and to the gRPC
// codes that tools without our details show. Unavailable of the *operation*
// ("zone c lacks nodes") is FailedPrecondition: only what another member or
// a moment may cure is codes.Unavailable, which the client retries.
var kinds = []struct {
	kind block.Kind
	wire pb.ErrorKind
	code codes.Code
}{
	{block.Unknown, pb.ErrorKind_ERROR_KIND_UNKNOWN, codes.Unknown},
	{block.Invalid, pb.ErrorKind_ERROR_KIND_INVALID, codes.InvalidArgument},
	{block.NotFound, pb.ErrorKind_ERROR_KIND_NOT_FOUND, codes.NotFound},
	{block.Exists, pb.ErrorKind_ERROR_KIND_EXISTS, codes.AlreadyExists},
	{block.Fenced, pb.ErrorKind_ERROR_KIND_FENCED, codes.Aborted},
	{block.Stale, pb.ErrorKind_ERROR_KIND_STALE, codes.Aborted},
	{block.Mismatch, pb.ErrorKind_ERROR_KIND_MISMATCH, codes.FailedPrecondition},
	{block.Corrupt, pb.ErrorKind_ERROR_KIND_CORRUPT, codes.DataLoss},
	{block.NoSpace, pb.ErrorKind_ERROR_KIND_NO_SPACE, codes.ResourceExhausted},
	{block.ReadOnly, pb.ErrorKind_ERROR_KIND_READ_ONLY, codes.FailedPrecondition},
	{block.Behind, pb.ErrorKind_ERROR_KIND_BEHIND, codes.FailedPrecondition},
	{block.Held, pb.ErrorKind_ERROR_KIND_HELD, codes.FailedPrecondition},
	{block.Closed, pb.ErrorKind_ERROR_KIND_CLOSED, codes.FailedPrecondition},
	{block.Unavailable, pb.ErrorKind_ERROR_KIND_UNAVAILABLE, codes.FailedPrecondition},
	{block.Version, pb.ErrorKind_ERROR_KIND_VERSION, codes.FailedPrecondition},
}

// Redirect is an error of a member that cannot answer now: another one, or
// the same one a little later, can. Its kind is block.Unavailable.
type Redirect struct {
	// Leader is the API address of the one to ask, or empty.
	Leader string
	// Reason is the message.
	Reason string
}

func (r *Redirect) Error() string { return r.Reason }

// Unwrap gives the kind to errors.Is.
func (r *Redirect) Unwrap() error { return block.Unavailable }

// ToStatus makes of err what goes over gRPC: the message, a code, and an
// ErrorDetail with the kind. A nil error stays nil.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	detail, code := &pb.ErrorDetail{}, codes.Unknown
	var redirect *Redirect
	switch {
	case errors.As(err, &redirect):
		detail.Kind, detail.Retry, detail.Leader = pb.ErrorKind_ERROR_KIND_UNAVAILABLE, true, redirect.Leader
		code = codes.Unavailable
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	default:
		kind := block.KindOf(err)
		for _, k := range kinds {
			if k.kind == kind {
				detail.Kind, code = k.wire, k.code
			}
		}
	}
	st, attachErr := status.New(code, err.Error()).WithDetails(detail)
	if attachErr != nil {
		return status.Error(code, err.Error())
	}
	return st.Err()
}

// FromStatus undoes ToStatus. Errors that gRPC itself makes (no connection,
// an answer that is no gRPC) become a Redirect if they are worth another
// try, or a Failure.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		detail, ok := d.(*pb.ErrorDetail)
		if !ok {
			continue
		}
		if detail.Retry {
			return &Redirect{Leader: detail.Leader, Reason: st.Message()}
		}
		for _, k := range kinds {
			if k.wire == detail.Kind && k.kind != block.Unknown {
				return block.Errorf(k.kind, "%s", st.Message())
			}
		}
	}
	switch st.Code() {
	case codes.Unavailable:
		return &Redirect{Reason: "metadata service: " + st.Message()}
	case codes.Canceled:
		return block.Wrap(block.Closed, context.Canceled, "metadata service: call given up")
	case codes.DeadlineExceeded:
		return block.Wrap(block.Unavailable, context.DeadlineExceeded, "metadata service: no answer in time")
	case codes.Unimplemented:
		return block.Errorf(block.Version, "metadata service: %s (another version of Sextant, or not Sextant, answers there)", st.Message())
	case codes.InvalidArgument:
		return block.Errorf(block.Invalid, "metadata service: %s", st.Message())
	}
	return block.Errorf(block.Unknown, "metadata service: %s (%s)", st.Message(), st.Code())
}
