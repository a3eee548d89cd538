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

func content(t *testing.T, file vfs.File) string {
	t.Helper()
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	if _, err := file.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestMisdirectedWrite(t *testing.T) {
	f, file := open(t)
	f.Add(faultfs.Rule{Ops: faultfs.Write, Skip: 1, Times: 1, Shift: 4})
	for _, p := range []string{"abcdefgh", "XY", "Z"} {
		if err := file.WritevAt([][]byte{[]byte(p)}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, file); got != "\x00ZbcdXYgh" {
		t.Fatalf("%q", got)
	}
}

func TestLostWriteAndSync(t *testing.T) {
	disk := memfs.New(0)
	f := faultfs.Wrap(disk)
	file, err := f.OpenFile("/log-1", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	write := func(p string) {
		t.Helper()
		if err := file.WritevAt([][]byte{[]byte(p)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	write("aaaa")
	remove := f.Add(faultfs.Rule{Ops: faultfs.Write, Lose: true, Short: 2})
	write("bbbb")
	if got := content(t, file); got != "bbaa" {
		t.Fatalf("%q", got)
	}
	remove()
	remove = f.Add(faultfs.Rule{Ops: faultfs.Sync | faultfs.SyncMeta, Lose: true})
	if err := errors.Join(file.SyncMeta(), file.Sync()); err != nil {
		t.Fatal(err)
	}
	if disk.Unsynced() < 2 { // the length and the sector
		t.Fatal("a sync that was lost did something")
	}
	remove()
	if err := errors.Join(file.SyncMeta(), disk.SyncDir("/")); err != nil || disk.Unsynced() != 0 {
		t.Fatalf("%d things are not durable, %v", disk.Unsynced(), err)
	}
}

func TestRotOfWritesLeavesTheCallersMemory(t *testing.T) {
	f, file := open(t)
	f.Add(faultfs.Rule{Ops: faultfs.Write, Rot: func(p []byte, off vfs.Offset) {
		if off == 3 {
			p[1] ^= 1
		}
	}})
	mine := [][]byte{[]byte("abc"), []byte("ab")}
	if err := file.WritevAt(mine, 0); err != nil {
		t.Fatal(err)
	}
	if got := content(t, file); got != "abcac" || string(mine[1]) != "ab" {
		t.Fatalf("%q on the disk, %q in memory", got, mine)
	}
}

func TestNoSpaceByRule(t *testing.T) {
	f, file := open(t)
	remove := f.Add(faultfs.Rule{Ops: faultfs.Allocate | faultfs.Create | faultfs.Truncate, Err: syscall.ENOSPC})
	_, err := f.OpenFile("/log-2", vfs.Create)
	for name, err := range map[string]error{"create": err, "allocate": file.Allocate(9), "truncate": file.Truncate(9)} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	remove()
	if err := file.Allocate(9); err != nil {
		t.Fatal(err)
	}
}
