package faultfs_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

func open(t *testing.T) (*faultfs.FS, vfs.File) {
	t.Helper()
	f := faultfs.Wrap(memfs.New(0))
	file, err := f.OpenFile("/log-1", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	return f, file
}

func TestRuleSkipsActsAndEnds(t *testing.T) {
	f, file := open(t)
	remove := f.Add(faultfs.Rule{Ops: faultfs.Sync, Pattern: "log-*", Skip: 1, Times: 2, Err: syscall.EIO})
	var got []bool
	for range 5 {
		got = append(got, errors.Is(file.Sync(), syscall.EIO))
	}
	want := []bool{false, true, true, false, false}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("calls failed as %v, want %v", got, want)
		}
	}
	remove()
	f.Add(faultfs.Rule{Ops: faultfs.Sync, Pattern: "other-*", Err: syscall.EIO})
	if err := file.Sync(); err != nil {
		t.Fatalf("a rule for another file acted: %v", err)
	}
	if n := f.Calls(faultfs.Sync); n != 6 {
		t.Fatalf("%d calls counted", n)
	}
}

func TestShortWrite(t *testing.T) {
	f, file := open(t)
	f.Add(faultfs.Rule{Ops: faultfs.Write, Err: syscall.EIO, Short: 5})
	err := file.WritevAt([][]byte{[]byte("abc"), []byte("defg")}, 0)
	if !errors.Is(err, syscall.EIO) {
		t.Fatalf("short write: %v", err)
	}
	p := make([]byte, 5)
	if n, err := file.ReadAt(p, 0); n != 5 || err != nil || string(p) != "abcde" {
		t.Fatalf("%q, %v", p[:n], err)
	}
	if size, _ := file.Size(); size != 5 {
		t.Fatalf("%d bytes were written", size)
	}
}

func TestRotChangesReads(t *testing.T) {
	f, file := open(t)
	if err := file.WritevAt([][]byte{[]byte("abc")}, 0); err != nil {
		t.Fatal(err)
	}
	f.Add(faultfs.Rule{Ops: faultfs.Read, Rot: func(p []byte, off vfs.Offset) { p[0] ^= 1 }})
	p := make([]byte, 3)
	if _, err := file.ReadAt(p, 0); err != nil || string(p) != "`bc" {
		t.Fatalf("%q, %v", p, err)
	}
}

func TestStallWaits(t *testing.T) {
	f, file := open(t)
	stall := make(chan struct{})
	f.Add(faultfs.Rule{Ops: faultfs.Sync, Stall: stall, Times: 1})
	done := make(chan error)
	go func() { done <- file.Sync() }()
	select {
	case <-done:
		t.Fatal("a stalled call returned")
	case stall <- struct{}{}: // only a call that waits can take this
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
