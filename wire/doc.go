// Package wire is the language of the data path: the frames and messages
// between a gateway and the segment daemons, and between segment daemons.
//
// A connection is a stream of frames over TCP. Each frame has a fixed header,
// a meta part (the message) and perhaps a payload of whole 4 KiB blocks. The
// CRC32C in the header covers header and meta; each payload block has its own
// CRC32C in the meta, made where the block came into the system and carried
// with it to the disk and back (rule B3), so payload is never summed twice.
//
// Every message after the greeting names cluster, volume, protection group,
// segment and both epochs (rule R1); the greeting ties the connection to one
// daemon, disk and boot.
//
// Non-job: no sockets' life cycle, no retry, no decisions. Who may speak, and
// what an answer means, is decided in segmentd and volume.
//
// Invariants: a decoder never panics, whatever the bytes, and never
// allocates by a length that it has not checked; every length and count has
// a named bound here. Encoding what was decoded gives the same bytes.
//
// Goroutines: none. A Reader belongs to one goroutine; encoders are
// functions.
package wire
