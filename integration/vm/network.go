package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// Addresses and sizes of the guest's network, which guest/init sets too.
const (
	hostInGuest  = "10.0.2.2" // the host's loopback, as the guest sees it
	guestAddress = "10.0.2.15"
	hostMAC      = "52:54:00:00:00:02"
	// mtu is the largest that virtio-net takes in whole 4 byte words. The
	// emulated guest spends its time on each packet, not on each byte:
	// QEMU's own user networking (1500 bytes) takes twice as long for the
	// 1 GiB journal of a large ext4.
	mtu = "65520"
)

// network is a passt process: it takes the guest's Ethernet frames from a
// socket and makes ordinary connections of the host of them. It needs no
// privilege and ends when the emulator closes the socket.
type network struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	guest  *os.File // the emulator's end of the socket
}

// startNetwork is called on a thread that outlives the network.
func startNetwork(ctx context.Context) (*network, error) {
	passt, err := find("passt")
	if err != nil {
		return nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "a socket pair for the guest's network")
	}
	ours := os.NewFile(uintptr(fds[0]), "network")
	defer ours.Close()
	n := &network{guest: os.NewFile(uintptr(fds[1]), "guest")}
	// The interface is only a template for what is given here: lo is on
	// every machine. File 3 is the first of ExtraFiles.
	n.cmd = exec.CommandContext(ctx, passt, "--foreground", "--stderr", "--quiet", "--one-off", "--fd", "3",
		"--ipv4-only", "--interface", "lo", "--address", guestAddress, "--netmask", "24", "--gateway", hostInGuest,
		"--mac-addr", hostMAC, "--mtu", mtu, "--tcp-ports", "none", "--udp-ports", "none", "--no-dhcp", "--no-icmp")
	n.cmd.ExtraFiles = []*os.File{ours}
	n.cmd.Stderr = &n.stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.guest.Close()
		return nil, block.Wrap(block.Unavailable, err, "starting passt")
	}
	return n, nil
}

// stop ends the network after the emulator has ended. How it ends says
// nothing: the guest's fate does.
func (n *network) stop() {
	n.guest.Close()
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}
