package metadata

import "time"

// Bounds of what the service keeps and of what travels in one message.
const (
	// MaxNodes bounds the nodes that are not removed.
	MaxNodes = 1000
	// MaxVolumes bounds the volumes, those being deleted included.
	MaxVolumes = 4096
	// MaxMembers bounds the members of the metadata service.
	MaxMembers = 5
	// MaxPGPage bounds the protection groups in one page.
	MaxPGPage = 512
	// MaxSegmentReports bounds the segment reports of one heartbeat, and
	// MaxUnhealthy those of one lease renewal. Who has more to tell sends
	// the worst.
	MaxSegmentReports = 4096
	MaxUnhealthy      = 1024
	// MaxDrops bounds the segments that one heartbeat's reply orders to be
	// dropped, and that one heartbeat reports as dropped.
	MaxDrops = 1024
	// MaxChanging bounds the groups of a volume that change their segments at
	// a time, and those that one lease renewal names.
	MaxChanging = 1024
	// MaxUnopened bounds the groups that OpenDone names.
	MaxUnopened = 1024
	// MaxCounters bounds the counters of one lease renewal.
	MaxCounters = 64
	// MaxText bounds an address, a description, a state's text, in bytes.
	MaxText = 255
	// NodeFormat is the newest format of a segment daemon's data folder
	// that the service knows to handle.
	NodeFormat = 1
	// MaxRequestBytes and MaxReplyBytes bound gRPC messages.
	MaxRequestBytes = 4 << 20
	MaxReplyBytes   = 16 << 20
)

// Times that both sides know. The service's settings may shorten them in
// tests; clients take the defaults.
const (
	// HeartbeatEvery is how often a segment daemon sends a heartbeat.
	HeartbeatEvery = time.Second
	// DownAfter is how long a node may be silent before it counts as down.
	DownAfter = 3 * time.Second
	// RenewEvery is how often a gateway renews a volume's lease.
	RenewEvery = 500 * time.Millisecond
	// LeaseFor is how long a lease lives after its last renewal.
	LeaseFor = 2 * time.Second
)
