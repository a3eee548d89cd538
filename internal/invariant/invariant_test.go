package invariant_test

import (
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/invariant"
)

func panicOf(fn func()) (msg string) {
	defer func() {
		if r := recover(); r != nil {
			msg = r.(string)
		}
	}()
	fn()
	return ""
}

func TestViolatedAlwaysPanics(t *testing.T) {
	if msg := panicOf(func() { invariant.Violated("page %d", 7) }); !strings.Contains(msg, "page 7") {
		t.Fatalf("panic said %q", msg)
	}
}

func TestThatChecksWhereEnabled(t *testing.T) {
	msg := panicOf(func() { invariant.That(false, "one leader") })
	if got := strings.Contains(msg, "one leader"); got != invariant.Enabled {
		t.Fatalf("That(false) panicked %v, enabled is %v", got, invariant.Enabled)
	}
	if msg := panicOf(func() { invariant.That(true, "x") }); msg != "" {
		t.Fatalf("That(true) panicked: %s", msg)
	}
}
