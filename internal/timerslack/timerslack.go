package timerslack

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// marker is the environment variable that says that this has been tried, and
// what the slack was before.
const marker = "SEXTANT_TIMER_SLACK"

// Widen starts this process anew, with the given slack for the thread that the
// Go runtime watches it from, its monitor. It does not return when it succeeds.
// In the new process, and wherever the slack is as wide already, it returns nil;
// Unavailable tells why the process goes on with the slack that it had. It must
// be called first in main.
func Widen(slack time.Duration) error {
	had, again := os.LookupEnv(marker)
	if again {
		if err := os.Unsetenv(marker); err != nil { // the children of this process are not concerned
			return block.Wrap(block.Unavailable, err, "the timer slack")
		}
		return narrow(had)
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
	if err := set(slack); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return errors.Join(block.Wrap(block.Unavailable, err, "starting anew with a timer slack of %v", slack), set(have))
	}
	err = syscall.Exec(self, os.Args, append(os.Environ(), marker+"="+have.String()))
	return errors.Join(block.Wrap(block.Unavailable, err, "starting %s anew with a timer slack of %v", self, slack), set(have))
}

const (
	// spareThreads are made ahead: a thread that the monitor makes, because all
	// others are in system calls, has its slack.
	spareThreads = 16
	// A thread that sleeps while it looks for work is missed; it is awake when
	// it is asked once more.
	narrowRounds = 2
	roundPause   = 5 * time.Millisecond
)

// narrow gives back the slack of before to the threads that run goroutines, if
// need be but for one or two that are in nobody's way.
func narrow(before string) error {
	slack, err := time.ParseDuration(before)
	if err != nil {
		return block.Wrap(block.Invalid, err, "%s in the environment", marker)
	}
	if err := set(slack); err != nil { // threads that this one makes have it, too
		return err
	}
	for i := range narrowRounds {
		if i > 0 {
			time.Sleep(roundPause)
		}
		if err := setOnThreads(slack); err != nil {
			return err
		}
	}
	return nil
}

// setOnThreads gives spareThreads threads a slack: of the goroutines that do, each
// keeps its own until all have one.
func setOnThreads(slack time.Duration) error {
	var errs [spareThreads]error
	var done, ended sync.WaitGroup
	done.Add(len(errs))
	for i := range errs {
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = set(slack)
			done.Done()
			done.Wait()
		})
	}
	ended.Wait()
	return errors.Join(errs[:]...)
}

// set gives the calling thread a slack.
func set(slack time.Duration) error {
	err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0)
	if err != nil {
		return block.Wrap(block.Unavailable, err, "setting the timer slack to %v", slack)
	}
	return nil
}

// Get gives the slack of the calling thread.
func Get() (time.Duration, error) {
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0, block.Wrap(block.Unavailable, err, "asking for the timer slack")
	}
	return time.Duration(ns), nil
}
