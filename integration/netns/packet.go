package netns

import (
	"encoding/binary"
	"net/netip"
)

// What is read of a packet (RFC 791, RFC 9293):
//
//	IPv4   0 version 4 bits, header length 4 bits in words · 2 total length ·
//	       9 protocol · 10 header checksum · 12 source · 16 destination
//	TCP    0 source port · 2 destination port · 4 sequence · 8 acknowledged ·
//	       12 header length, high 4 bits, in words · 13 flags · 14 window ·
//	       16 checksum over a pseudo header, the header and the payload
const (
	ipHeader    = 20
	tcpHeader   = 20
	protocolTCP = 6

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

// destination is where an IPv4 packet is to go; ok is false for anything else.
func destination(p []byte) (addr netip.Addr, ok bool) {
	if len(p) < ipHeader || p[0]>>4 != 4 {
		return addr, false
	}
	return netip.AddrFrom4([4]byte(p[16:20])), true
}

// segment is a TCP segment within a packet.
type segment struct {
	packet []byte
	ip     int // length of the IPv4 header
	data   int // where the payload begins
}

// tcp finds the TCP segment of a packet; ok is false if it is none, or is cut.
func tcp(p []byte) (s segment, ok bool) {
	if len(p) < ipHeader || p[0]>>4 != 4 || p[9] != protocolTCP {
		return s, false
	}
	s = segment{packet: p, ip: int(p[0]&15) * 4}
	if s.ip < ipHeader || len(p) < s.ip+tcpHeader {
		return s, false
	}
	s.data = s.ip + int(p[s.ip+12]>>4)*4
	return s, s.data >= s.ip+tcpHeader && s.data <= len(p)
}

func (s segment) header() []byte { return s.packet[s.ip:s.data] }
func (s segment) payload() int   { return len(s.packet) - s.data }
func (s segment) flags() byte    { return s.header()[13] }

func (s segment) sequence() uint32     { return binary.BigEndian.Uint32(s.header()[4:]) }
func (s segment) acknowledged() uint32 { return binary.BigEndian.Uint32(s.header()[8:]) }

// cut is the segment with the first n bytes of its payload only.
func (s segment) cut(n int) []byte {
	p := append([]byte(nil), s.packet[:s.data+n]...)
	p[s.ip+13] &^= flagFIN
	finish(p, s.ip)
	return p
}

// resets are what ends the connection at both ends: at the receiver after the
// first n bytes of this segment, and at its sender.
func (s segment) resets(n int) (receiver, sender []byte) {
	h := s.header()
	return reset(s.packet[12:16], s.packet[16:20], h[0:2], h[2:4], s.sequence()+uint32(n), s.acknowledged()),
		reset(s.packet[16:20], s.packet[12:16], h[2:4], h[0:2], s.acknowledged(), s.sequence()+uint32(n))
}

func reset(from, to, fromPort, toPort []byte, sequence, acknowledged uint32) []byte {
	p := make([]byte, ipHeader+tcpHeader)
	p[0] = 4<<4 | ipHeader/4
	p[8] = 64 // hops
	p[9] = protocolTCP
	copy(p[12:], from)
	copy(p[16:], to)
	t := p[ipHeader:]
	copy(t, fromPort)
	copy(t[2:], toPort)
	binary.BigEndian.PutUint32(t[4:], sequence)
	binary.BigEndian.PutUint32(t[8:], acknowledged)
	t[12] = tcpHeader / 4 << 4
	t[13] = flagRST | flagACK
	finish(p, ipHeader)
	return p
}

// finish sets the lengths and the checksums of a packet with a TCP segment.
func finish(p []byte, ip int) {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:ip])))
	t := p[ip:]
	binary.BigEndian.PutUint16(t[16:], 0)
	pseudo := sum(p[12:20]) + protocolTCP + uint64(len(t))
	binary.BigEndian.PutUint16(t[16:], ^fold(pseudo+sum(t)))
}

// sum adds 16 bit words, the last one filled up with a zero.
func sum(p []byte) (n uint64) {
	for ; len(p) >= 2; p = p[2:] {
		n += uint64(binary.BigEndian.Uint16(p))
	}
	if len(p) == 1 {
		n += uint64(p[0]) << 8
	}
	return n
}

func fold(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
