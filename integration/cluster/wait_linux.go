package cluster

import (
	"errors"

	"golang.org/x/sys/unix"
)

// waitDead waits until the child pid has ended, and leaves it to be reaped.
func waitDead(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// waitStopped waits until all threads of the child pid stand still, or it has
// ended: kill(2) with SIGSTOP returns before that.
func waitStopped(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
