package segmentd

import "sync/atomic"

// Counters count since the start. They may be read at any time.
type Counters struct {
	Reads            atomic.Uint64 // READ requests served or refused by the log
	Mended           atomic.Uint64 // damaged blocks written again
	CaughtUpBytes    atomic.Uint64 // payload fetched from peers
	CorruptOnArrival atomic.Uint64 // WRITE frames whose payload did not have its checksum
}

// Counters gives the daemon's counters.
func (s *Server) Counters() *Counters { return &s.counters }
