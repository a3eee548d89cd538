package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// started is the moment that monotonic readings are counted from.
var started = time.Now()

// machine is the clocks of this machine.
type machine struct{}

func (machine) both() (wall int64, mono time.Duration) {
	now := time.Now()
	return now.UnixNano(), now.Sub(started)
}

func (machine) boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had it since 2.6.39; a lease on a clock that is not
		// there could not be kept.
		panic("clock: CLOCK_BOOTTIME cannot be read: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
