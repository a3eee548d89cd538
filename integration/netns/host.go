package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// device is the interface of each host.
	device = "eth0"
	// mtu lets a block of 4 KiB travel in one packet.
	mtu = 9000
)

// Host is a network namespace with one address.
type Host struct {
	// Name is for people, Zone is what faults choose by.
	Name, Zone string

	addr  netip.Addr
	index int
	// namespace is the open file of the namespace.
	namespace *os.File
	// tun is this process's end of the host's interface.
	tun *os.File
	// control is a socket in the namespace: its interfaces are set up with it.
	control int
}

// Addr is the host's address on the network.
func (h *Host) Addr() netip.Addr { return h.addr }

// String is the host's name.
func (h *Host) String() string { return h.Name }

// Enter puts the calling thread into the host for good: the goroutine must
// have locked it, and must end without unlocking it. Processes that the thread
// starts and sockets that it makes are in the host. Error kind: Unavailable.
func (h *Host) Enter() error {
	if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return block.Wrap(block.Unavailable, err, "entering the network namespace of %s", h.Name)
	}
	return nil
}

// Do calls f on a thread that is in the host. Goroutines that f starts are not.
func (h *Host) Do(f func() error) error { return onThread(h.Enter, f) }

// onThread calls all on a thread of its own, which ends with that, and stops
// at the first error.
func onThread(all ...func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for _, f := range all {
			if err := f(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return <-done
}

// SetLink takes the host's interface down, or up again. While it is down, the
// host's own kernel refuses to send. Error kind: Unavailable.
func (h *Host) SetLink(up bool) error {
	if err := setUp(h.control, device, up); err != nil {
		return block.Wrap(block.Unavailable, err, "the link of %s", h.Name)
	}
	return nil
}

// newHost makes a namespace and what is in it. Error kind: Unavailable.
func newHost(name, zone string, addr netip.Prefix) (*Host, error) {
	h := &Host{Name: name, Zone: zone, addr: addr.Addr(), control: -1}
	err := onThread(unshare, func() error { return h.furnish(addr) })
	if err != nil {
		h.close()
		return nil, block.Wrap(block.Unavailable, err, "making a network namespace for %s (it takes root and /dev/net/tun)", name)
	}
	return h, nil
}

func unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return nil
}

// furnish is called on a thread in the new namespace.
func (h *Host) furnish(addr netip.Prefix) (err error) {
	if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if h.control, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return errors.Join(fmt.Errorf("making a TUN device: %w", err), unix.Close(fd))
	}
	h.tun = os.NewFile(uintptr(fd), "tun of "+h.Name)
	if err := setAddress(h.control, device, addr); err != nil {
		return err
	}
	if err := setUp(h.control, "lo", true); err != nil {
		return err
	}
	return setUp(h.control, device, true)
}

func setAddress(control int, name string, addr netip.Prefix) error {
	mask := ^uint32(0) << (32 - addr.Bits())
	ip := addr.Addr().As4()
	for _, set := range []struct {
		what    string
		request uint
		value   func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error {
			return r.SetInet4Addr([]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)})
		}},
		{"mtu", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
	} {
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			err = set.value(ifr)
		}
		if err == nil {
			err = unix.IoctlIfreq(control, set.request, ifr)
		}
		if err != nil {
			return fmt.Errorf("setting the %s of %s: %w", set.what, name, err)
		}
	}
	return nil
}

func setUp(control int, name string, up bool) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(control, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("asking for the flags of %s: %w", name, err)
	}
	flags := ifr.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("setting the flags of %s: %w", name, err)
	}
	return nil
}

// close gives up this process's hold of the namespace: it goes with the last
// process that is in it.
func (h *Host) close() {
	if h.tun != nil {
		h.tun.Close()
	}
	if h.namespace != nil {
		h.namespace.Close()
	}
	if h.control >= 0 {
		_ = unix.Close(h.control)
	}
}
