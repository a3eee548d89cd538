// Package nbd serves block devices over the NBD protocol (fixed newstyle;
// doc/proto.md of the NetworkBlockDevice/nbd project is "the NBD spec").
//
// It reads requests, checks them, hands them to a Device and sends the
// replies, in whatever order the Device completes them. Where the devices
// come from is the matter of a Backend.
//
//	socket ─► reader ─► check ─► Device.Submit … Request.Complete ─► boxcar ─► socket
//	          (one goroutine a connection)        (any goroutine)
//
// Non-job: it knows nothing of volumes, segments or quorums, keeps no data,
// orders no writes (overlapping requests in flight are the Device's matter)
// and retries nothing. TLS is not built yet: NBD_OPT_STARTTLS is answered as
// policy NOTLS of the NBD spec demands; handshake.startTLS is where it would go.
//
// # Invariants
//
//   - No Backend.Open before NBD_OPT_GO or NBD_OPT_EXPORT_NAME: scanners, LIST
//     and INFO open nothing and take no lease (rule 12).
//   - Whatever a client sends ends at worst its own connection. No length from
//     the wire is allocated for before it has been checked.
//   - A write's payload is always read, even when the request is refused, so
//     that the stream stays in step (rule 27).
//   - Each request that was read gets one reply, or the connection ends.
//   - Device.Close comes after the last Complete, and accepted writes finish
//     even when their client has gone (rule 39).
//   - When a Device fails with kind Fenced, Held or Closed, no reply is sent
//     and the connection ends: see Request.Complete (trap T32).
//
// # Bounds
//
// Requests and bytes in flight are bounded for each connection, bytes also
// for the server; a request is in flight until its reply is with the kernel,
// so a client that does not read its replies soon blocks its own reader, and
// nothing else. The server's bytes are shared so that a connection may hold
// no more than is still free (see budget): however many clients are stuck,
// something is left for the next one. Connections, handshakes at a time, the
// time and the options of a handshake are bounded too.
//
// # Goroutines
//
// One for each listener (Serve), one for each connection (the reader), and
// one asleep in each connection's boxcar.Writer. None for each request. The
// reader is born in Serve; it ends when its client disconnects, breaks the
// protocol or vanishes, when its Device severs it, or at Shutdown. Before it
// ends it waits for what is in flight and closes the Device. Shutdown and
// Close join them all.
//
// Locks: Server.mu and conn.mu are leaves but for one order, Server.mu before
// conn.mu; neither is held during calls of Backend, Device or Metrics, or
// during I/O.
package nbd
