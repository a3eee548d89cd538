package boxcar

import "testing"

// An owner is released when its last byte is sent, not before, and not only
// when the whole batch is.
func TestOwnersAreReleasedAsTheirBytesGo(t *testing.T) {
	var b batch
	var first, second counter
	b.addHead([]byte("head"))
	b.addBody([]byte("body"))
	b.addClaim(&first)
	b.addBody([]byte("rest"))
	b.addClaim(&second)
	for i, step := range []struct {
		n             int
		first, second int32
	}{
		{3, 0, 0}, {4, 0, 0}, {1, 1, 0}, {3, 1, 0}, {1, 1, 1},
	} {
		b.advance(step.n)
		if first.n.Load() != step.first || second.n.Load() != step.second {
			t.Fatalf("after step %d: %d and %d releases, want %d and %d", i, first.n.Load(), second.n.Load(), step.first, step.second)
		}
	}
	if !b.empty() {
		t.Error("the batch is not empty after all its bytes")
	}
}
