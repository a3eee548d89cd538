package timerslack

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// marker is the environment variable that says that this has been tried.
const marker = "SEXTANT_TIMER_SLACK"

// Widen starts this process anew with the given slack for all its threads. It
// does not return when it succeeds. In the new process, and wherever the slack
// is as wide already, it returns nil at once; Unavailable tells why the
// process goes on with the slack that it had. It must be called first in main.
func Widen(slack time.Duration) error {
	_, tried := os.LookupEnv(marker)
	if tried {
		return os.Unsetenv(marker) // the children of this process are not concerned
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	have, err := Get()
	if err != nil {
		return err
	}
	if have >= slack {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0); err != nil {
		return block.Wrap(block.Unavailable, err, "setting the timer slack to %v", slack)
	}
	self, err := os.Executable()
	if err != nil {
		return block.Wrap(block.Unavailable, err, "starting anew with a timer slack of %v", slack)
	}
	err = syscall.Exec(self, os.Args, append(os.Environ(), marker+"="+slack.String()))
	return block.Wrap(block.Unavailable, err, "starting %s anew with a timer slack of %v", self, slack)
}

// Get gives the slack of the calling thread.
func Get() (time.Duration, error) {
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0, block.Wrap(block.Unavailable, err, "asking for the timer slack")
	}
	return time.Duration(ns), nil
}
