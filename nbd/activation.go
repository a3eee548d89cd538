package nbd

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// firstActivationFD is where the sockets begin that systemd passes
	// (sd_listen_fds(3)).
	firstActivationFD = 3
	// activationFDsMax bounds how many are taken.
	activationFDsMax = 64
)

// ActivationListeners are the listening sockets that systemd, or who speaks
// its protocol, has passed: LISTEN_FDS of them, if LISTEN_PID is this process.
// There may be none. The variables are removed, so that children do not take
// the sockets for theirs. Error kind: Invalid.
func ActivationListeners() ([]net.Listener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > activationFDsMax {
		return nil, block.Errorf(block.Invalid, "LISTEN_FDS=%q is not a number from 0 to %d", count, activationFDsMax)
	}
	var listeners []net.Listener
	for fd := firstActivationFD; fd < firstActivationFD+n; fd++ {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		f.Close() // FileListener has made a copy
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, block.Wrap(block.Invalid, err, "file descriptor %d from LISTEN_FDS is not a listening socket", fd)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}
