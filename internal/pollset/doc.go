// Package pollset lets one goroutine read many sockets.
//
// A goroutine for each socket is what Go is made for, and costs nothing while
// one socket at a time has something. But answers to what was sent to six peers
// at once come nearly together: the runtime then wakes one more thread for each
// goroutine but the first, which on a busy machine has to wait for a processor, and
// each goroutine asks its socket once more for nothing before it sleeps. A Set is a
// socket's worth of sleep for all of them: an epoll(7) instance that is itself
// watched by the runtime's poller, so that who waits for it takes up no thread.
//
//	socket ─┐
//	socket ─┼─► Set (epoll, level-triggered) ─► runtime's poller ─► Wait
//	socket ─┘
//
// Level-triggered: what one Read leaves in a socket is told by the next Wait, and
// nobody has to read until there is nothing left.
//
// Non-job: it does not read, and knows nothing of what is read; Socket.Read does
// the one, its caller the other. Writing is package boxcar's.
//
// Invariants: a key is told by Wait only while its socket is in the Set, and
// each Wait tells it once at most. Socket.Read never waits. A descriptor is only
// touched while package net holds it open, so that it is never another one's.
//
// Goroutines: none. Add, Remove and Close may be called from any, Wait and each
// Socket's Read from one at a time.
package pollset
