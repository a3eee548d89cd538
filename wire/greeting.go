package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// Purpose says what a connection is for, so that a daemon can treat reads,
// writes and catch-up apart.
type Purpose uint8

// Purposes of a connection.
const (
	ForWrites Purpose = iota + 1 // a gateway's records, joins and pings
	ForReads                     // a gateway's reads
	ForPeers                     // another segment daemon catching up
)

// Hello opens a connection: who speaks, and whom it wants to speak to. A
// daemon that is somebody else refuses (rule R1, trap T27: an address that
// was given to another process).
//
//	 0 16  cluster
//	16 16  disk      the one expected behind this address
//	32  1  purpose
//	33  .  node      text: the daemon expected behind this address
//	    .  sender    text: for logs
type Hello struct {
	Cluster block.ClusterID
	Disk    block.DiskID
	Purpose Purpose
	Node    block.NodeID
	Sender  string
}

// IsFor tells whether it is this node with this disk that was called (R1): a
// node that comes back with another disk is not who it was (R28).
func (m *Hello) IsFor(cluster block.ClusterID, disk block.DiskID, node block.NodeID) bool {
	return m.Cluster == cluster && (m.Disk == disk || mutant.On(mutant.RejoinEmpty)) && m.Node == node
}

// Append adds the message as a frame to b.
func (m *Hello) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeHello, tag)
	b = append(b, m.Cluster[:]...)
	b = append(b, m.Disk[:]...)
	b = append(b, byte(m.Purpose))
	b = appendText(b, string(m.Node))
	b = appendText(b, m.Sender)
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Hello) Decode(meta []byte) error {
	d := decoder{b: meta}
	d.bytes(m.Cluster[:])
	d.bytes(m.Disk[:])
	m.Purpose = Purpose(d.u8())
	m.Node = block.NodeID(d.text())
	m.Sender = d.text()
	if d.err == nil && (m.Purpose < ForWrites || m.Purpose > ForPeers) {
		d.fail("unknown purpose %d of a connection", m.Purpose)
	}
	return d.end()
}

// Welcome answers Hello.
//
//	 0 16  cluster
//	16 16  disk
//	32  8  boot
//	40  .  node   text
type Welcome struct {
	Cluster block.ClusterID
	Disk    block.DiskID
	Boot    block.Boot
	Node    block.NodeID
}

// Append adds the message as a frame to b.
func (m *Welcome) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeWelcome, tag)
	b = append(b, m.Cluster[:]...)
	b = append(b, m.Disk[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Boot))
	b = appendText(b, string(m.Node))
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Welcome) Decode(meta []byte) error {
	d := decoder{b: meta}
	d.bytes(m.Cluster[:])
	d.bytes(m.Disk[:])
	m.Boot = block.Boot(d.u64())
	m.Node = block.NodeID(d.text())
	return d.end()
}

// Refuse answers any request that is not carried out.
//
//	 0  1  kind      a block.Kind
//	 1  3  (zero)
//	 4  4  epoch     the volume epoch promised by the segment, 0 if none
//	 8  4  member    the membership epoch of the segment, 0 if none
//	12  .  message   text
type Refuse struct {
	Kind    block.Kind
	Epoch   block.VolumeEpoch
	Member  block.MembershipEpoch
	Message string
}

// Append adds the message as a frame to b.
func (m *Refuse) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeRefuse, tag)
	b = append(b, byte(m.Kind), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Epoch))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Member))
	b = appendText(b, m.Message)
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Refuse) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Kind = block.Kind(d.u8())
	if p := d.take(3); p != nil && [3]byte(p) != [3]byte{} {
		d.fail("reserved bytes are not zero")
	}
	m.Epoch = block.VolumeEpoch(d.u32())
	m.Member = block.MembershipEpoch(d.u32())
	m.Message = d.text()
	return d.end()
}

// Err is the refusal as an error of its kind.
func (m *Refuse) Err() error { return block.Errorf(m.Kind, "%s", m.Message) }
