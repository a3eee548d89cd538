package metadata_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Every kind that block knows crosses the wire, with its message; a new kind
// without a number fails here.
func TestKindsCrossTheWire(t *testing.T) {
	for k := block.Invalid; !strings.HasPrefix(k.String(), "kind("); k++ {
		sent := block.Wrap(k, errors.New("the cause"), "what failed")
		got := metadata.FromStatus(metadata.ToStatus(sent))
		if !errors.Is(got, k) || block.KindOf(got) != k {
			t.Errorf("%v came back as %v (kind %v)", k, got, block.KindOf(got))
		}
		if got.Error() != sent.Error() {
			t.Errorf("%v: the message %q came back as %q", k, sent, got)
		}
		if c := status.Code(metadata.ToStatus(sent)); c == codes.Unavailable || c == codes.Unknown || c == codes.OK {
			t.Errorf("%v travels with code %v, which means something else", k, c)
		}
	}
	if metadata.ToStatus(nil) != nil || metadata.FromStatus(nil) != nil {
		t.Error("no error became one")
	}
	if got := metadata.FromStatus(metadata.ToStatus(errors.New("odd"))); block.KindOf(got) != block.Unknown {
		t.Errorf("an error without a kind came back with kind %v", block.KindOf(got))
	}
}

func TestRedirectCrossesTheWire(t *testing.T) {
	got := metadata.FromStatus(metadata.ToStatus(&metadata.Redirect{Leader: "h:1", Reason: "not me"}))
	var r *metadata.Redirect
	if !errors.As(got, &r) || r.Leader != "h:1" || r.Reason != "not me" || !errors.Is(got, block.Unavailable) {
		t.Fatalf("came back as %#v", got)
	}
}

func TestGRPCsOwnErrorsGetAKind(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.Unavailable:      block.Unavailable,
		codes.Canceled:         context.Canceled,
		codes.DeadlineExceeded: context.DeadlineExceeded,
		codes.Unimplemented:    block.Version,
		codes.InvalidArgument:  block.Invalid,
	} {
		if got := metadata.FromStatus(status.Error(code, "x")); !errors.Is(got, want) {
			t.Errorf("%v became %v", code, got)
		}
	}
	if got := metadata.FromStatus(metadata.ToStatus(context.Canceled)); !errors.Is(got, context.Canceled) {
		t.Errorf("a canceled call came back as %v", got)
	}
}
