package segmentd

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
)

// flushes calls a function at each flush of a log, when nobody knows of it yet.
type flushes struct {
	then func()
	n    atomic.Int64
}

func (f *flushes) Flushed(int, block.ByteCount, time.Duration) {
	f.n.Add(1)
	f.then()
}
func (*flushes) Corrupt(logstore.Damage) {}
func (*flushes) Failed(error)            {}

// TestR22WhatComesFromPeersIsNoLoad: neither leaves nor records that a daemon
// takes count as what gateways write there; else they would slow themselves down.
func TestR22WhatComesFromPeersIsNoLoad(t *testing.T) {
	donor := copyOn(t, memfs.New(0), 10)
	donor.write(1, 300) // more than comes in records until all peers are known
	donor.write(301, 2) // not settled: they come as records
	d := prepare(t, memfs.New(0))
	d.cfg.Clock, d.cfg.Store.Clock = clock.Real(), clock.Real()
	var server atomic.Pointer[Server]
	var load atomic.Uint64
	f := &flushes{}
	f.then = func() {
		if s := server.Load(); s != nil {
			load.Store(max(load.Load(), uint64(s.served())))
		}
	}
	d.cfg.Store.Observer = f
	c := joined(t, d.start(), 4)
	before := c.Server.served() // the configuration
	server.Store(d.Server)
	if a := c.pulledFrom(lsn(1, 302), donor); a.SCL != lsn(1, 302) {
		t.Fatalf("SCL %v", a.SCL)
	}
	n := c.Counters()
	if n.HydratedBytes.Load() == 0 || n.CaughtUpBytes.Load() == 0 || f.n.Load() == 0 || load.Load() != uint64(before) {
		t.Errorf("%d bytes came in leaves, %d in records, in %d flushes; %d bytes of it counted as load",
			n.HydratedBytes.Load(), n.CaughtUpBytes.Load(), f.n.Load(), load.Load()-uint64(before))
	}
}
