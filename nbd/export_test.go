package nbd

import "time"

// SetStallTimeForTesting shortens stallTimeMax for a server without clients.
func SetStallTimeForTesting(s *Server, d time.Duration) { s.relief.after = d }

// ReadsNoMoreForTesting tells whether no connection reads any more.
func (s *Server) ReadsNoMoreForTesting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.mu.conns {
		c.mu.Lock()
		stopping := c.mu.stopping
		c.mu.Unlock()
		if !stopping {
			return false
		}
	}
	return true
}
