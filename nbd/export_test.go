package nbd

import "time"

// SetStallTimeForTesting shortens stallTimeMax for a server without clients.
func SetStallTimeForTesting(s *Server, d time.Duration) { s.relief.after = d }
