package vfs

import (
	"bytes"
	"errors"
	"testing"
)

// TestShortWritesAreContinued proves that no byte is lost or doubled whatever
// the kernel writes at once.
func TestShortWritesAreContinued(t *testing.T) {
	for step := 1; step < 40; step++ {
		bufs := [][]byte{[]byte("abc"), {}, []byte("defghijk"), []byte("l"), []byte("mnopqrstuvwxyz")}
		disk := make([]byte, 3)
		err := writeAll(bufs, 3, func(now [][]byte, off Offset) (int, error) {
			if int(off) != len(disk) {
				t.Fatalf("written at %d, expected %d", off, len(disk))
			}
			p := bytes.Join(now, nil)
			p = p[:min(step, len(p))]
			disk = append(disk, p...) //nolint:makezero // the first bytes stand for what lies before
			return len(p), nil
		})
		if err != nil || string(disk[3:]) != "abcdefghijklmnopqrstuvwxyz" {
			t.Fatalf("step %d: %q, %v", step, disk[3:], err)
		}
	}
}

func TestWriteErrorIsNotRetried(t *testing.T) {
	eio, calls := errors.New("eio"), 0
	err := writeAll([][]byte{[]byte("abc")}, 0, func([][]byte, Offset) (int, error) {
		calls++
		return 0, eio
	})
	if !errors.Is(err, eio) || calls != 1 {
		t.Fatalf("%d calls, %v", calls, err)
	}
}
