package netns

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// maxHosts bounds the hosts of a network.
	maxHosts = 64
	// maxHeld bounds what waits to be delivered.
	maxHeld = 64 * block.MiB
	// maxPacket is the longest packet that a host can send.
	maxPacket = 1 << 16
)

// subnet is where all hosts are. It is in nobody's way: the namespaces see
// nothing else.
var subnet = netip.MustParsePrefix("10.99.0.0/16")

// Network carries packets between its hosts.
type Network struct {
	// wake tells the goroutine that delivers that something may be due
	// earlier.
	wake    chan struct{}
	closing chan struct{}
	workers sync.WaitGroup

	mu struct {
		sync.Mutex
		hosts  []*Host
		byAddr map[netip.Addr]*Host
		links  [][]*link // by sender and receiver
		faults []*Fault
		rng    *rand.Rand
		late   queue
		stats  Stats
		closed bool
	}
}

// Stats count packets.
type Stats struct {
	// Sent by all hosts to one another; Lost are those that a fault or a full
	// queue took; Late those that were delivered later; Severed are
	// connections that were ended.
	Sent, Lost, Late, Severed int
}

// Fault is a rule in force.
type Fault struct {
	network *Network
	match   Match
	rule    Rule
}

// New makes a network without hosts, on which nothing is lost. The seed
// decides what faults do. Error kind: Unavailable (it takes root).
func New(seed uint64) (*Network, error) {
	if os.Geteuid() != 0 {
		return nil, block.Errorf(block.Unavailable, "network namespaces take root: run the test as root")
	}
	n := &Network{wake: make(chan struct{}, 1), closing: make(chan struct{})}
	n.mu.byAddr = map[netip.Addr]*Host{}
	n.mu.rng = rand.New(rand.NewPCG(seed, 0))
	n.workers.Go(n.deliver)
	return n, nil
}

// Host adds a host. Error kinds: Invalid (too many), Unavailable.
func (n *Network) Host(name, zone string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := len(n.mu.hosts)
	if n.mu.closed || i == maxHosts {
		return nil, block.Errorf(block.Invalid, "host %s: the network is closed, or has %d hosts already", name, maxHosts)
	}
	base := subnet.Addr().As4()
	base[3] = byte(i + 1)
	h, err := newHost(name, zone, netip.PrefixFrom(netip.AddrFrom4(base), subnet.Bits()))
	if err != nil {
		return nil, err
	}
	h.index = i
	n.mu.hosts = append(n.mu.hosts, h)
	n.mu.byAddr[h.addr] = h
	for j := range n.mu.links {
		n.mu.links[j] = append(n.mu.links[j], &link{})
	}
	row := make([]*link, i+1)
	for j := range row {
		row[j] = &link{}
	}
	n.mu.links = append(n.mu.links, row)
	n.ruleLocked()
	n.workers.Go(func() { n.carry(h) })
	return h, nil
}

// Impose puts a fault in force until it is lifted.
func (n *Network) Impose(m Match, r Rule) *Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := &Fault{network: n, match: m, rule: r}
	n.mu.faults = append(n.mu.faults, f)
	n.ruleLocked()
	return f
}

// Lift ends the fault; what it held back is delivered now.
func (f *Fault) Lift() {
	n := f.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.faults = slices.DeleteFunc(n.mu.faults, func(o *Fault) bool { return o == f })
	n.ruleLocked()
	n.signal()
}

// Sever ends, on each link that matches, the connection of the next segment
// with data, in the middle of it: its first half arrives, then both ends are
// told that the connection is reset.
func (n *Network) Sever(m Match) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.eachLocked(func(from, to *Host, l *link) {
		if m(from, to) {
			l.sever = 1
		}
	})
}

// Stats are the counts so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.stats
}

// Close ends the network. What runs in the hosts is alone from now on.
func (n *Network) Close() {
	n.mu.Lock()
	if n.mu.closed {
		n.mu.Unlock()
		return
	}
	n.mu.closed = true
	hosts := n.mu.hosts
	n.mu.Unlock()
	close(n.closing)
	for _, h := range hosts {
		h.close()
	}
	n.workers.Wait()
}

func (n *Network) eachLocked(f func(from, to *Host, l *link)) {
	for i, row := range n.mu.links {
		for j, l := range row {
			if i != j {
				f(n.mu.hosts[i], n.mu.hosts[j], l)
			}
		}
	}
}

// ruleLocked works out each link's rule anew.
func (n *Network) ruleLocked() {
	n.eachLocked(func(from, to *Host, l *link) {
		l.rule = Rule{}
		for _, f := range n.mu.faults {
			if f.match(from, to) {
				l.rule = l.rule.and(f.rule)
			}
		}
	})
}

// carry takes what a host sends, until the host is closed.
func (n *Network) carry(from *Host) {
	buf := make([]byte, maxPacket)
	for {
		size, err := from.tun.Read(buf)
		if errors.Is(err, fs.ErrClosed) {
			return
		}
		if err != nil {
			// The link is down: the kernel has thrown away what it had.
			select {
			case <-n.closing:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		n.switchPacket(from, buf[:size])
	}
}

// switchPacket delivers a packet, or does with it what the rules say.
func (n *Network) switchPacket(from *Host, p []byte) {
	addr, ok := destination(p)
	if !ok {
		return
	}
	n.mu.Lock()
	to := n.mu.byAddr[addr]
	if to == nil || n.mu.closed {
		n.mu.Unlock()
		return
	}
	n.mu.stats.Sent++
	l := n.mu.links[from.index][to.index]
	now := time.Now()
	f := l.decide(now, len(p), n.mu.rng)
	if f.lost {
		n.mu.stats.Lost++
		n.mu.Unlock()
		return
	}
	if l.sever > 0 {
		if s, ok := tcp(p); ok && s.payload() > 0 && s.flags()&(flagSYN|flagRST) == 0 {
			l.sever--
			n.mu.stats.Severed++
			n.mu.Unlock()
			sever(from, to, s)
			return
		}
	}
	// A packet may overtake those that wait: order is TCP's affair.
	if !f.held && !f.twice && !f.due.After(now) {
		n.mu.Unlock()
		to.receive(p)
		return
	}
	for range 1 + b2i(f.twice) {
		if n.mu.late.push(parcel{due: f.due, held: f.held, from: from, to: to, packet: slices.Clone(p)}) {
			n.mu.stats.Late++
		} else {
			n.mu.stats.Lost++
		}
	}
	n.mu.Unlock()
	n.signal()
}

// sever ends a connection after half of a segment.
func sever(from, to *Host, s segment) {
	half := s.payload() / 2
	receiver, sender := s.resets(half)
	to.receive(s.cut(half))
	to.receive(receiver)
	from.receive(sender)
}

// receive gives a packet to the host. One whose link is down does not get it.
func (h *Host) receive(p []byte) {
	_, _ = h.tun.Write(p)
}

func (n *Network) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
