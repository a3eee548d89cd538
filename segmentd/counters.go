package segmentd

import "sync/atomic"

// Counters count since the start. They may be read at any time.
type Counters struct {
	Reads            atomic.Uint64 // READ requests served or refused by the log
	Mended           atomic.Uint64 // damaged blocks written again
	CaughtUpBytes    atomic.Uint64 // payload of records fetched from peers
	HydratedBytes    atomic.Uint64 // payload of leaves taken from peers
	GivenBytes       atomic.Uint64 // payload of records and leaves given to peers
	CorruptOnArrival atomic.Uint64 // WRITE frames whose payload did not have its checksum
	Refused          atomic.Uint64 // requests answered with REFUSE
}

// Counters gives the daemon's counters.
func (s *Server) Counters() *Counters { return &s.counters }

// Conns is how many gateways and peers are connected now.
func (s *Server) Conns() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mu.conns)
}

// Hosted is how many segments are on this disk.
func (s *Server) Hosted() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mu.segments)
}
