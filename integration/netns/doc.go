// Package netns gives each daemon of a test a machine of its own as far as the
// network goes, and puts a network between them that can be made bad.
//
// A Host is a network namespace with one interface, eth0, a TUN device whose
// other end is in this process. A Network carries the packets from host to
// host: it is wire, switch and fault. Each Host is in a zone; a Fault, chosen
// by who sends to whom, loses, delays, reorders, doubles, slows, holds back or
// cuts what goes one way; Sever ends connections in the middle of what they
// carry. A Host's link can be taken down as well, so that its own kernel knows.
//
// Non-job: it knows nothing of what the packets are about, and nothing of
// Sextant. It carries IPv4 and little else; it is no fast network: each packet
// passes through this process.
//
// Invariants: nothing is left on the machine, also after a kill: a namespace
// has no name, and goes with this process and the daemons in it. What is held
// back is bounded (maxHeld); what is beyond is lost, as in a router. Faults
// add up: a packet gets through if all of them let it through. With one seed
// and the same packets in the same order, the same packets are lost.
//
// Goroutines: one for each Host that reads what it sends, one for a Network
// that delivers what is late. Both end with Network.Close. All methods may be
// called from any goroutine.
package netns
