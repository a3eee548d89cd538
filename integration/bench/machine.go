package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// Machine is where a run took place.
type Machine struct {
	CPU    string          `json:"cpu"`
	Cores  int             `json:"cores"`
	Memory block.ByteCount `json:"memory_bytes"`
	Kernel string          `json:"kernel"`
	Go     string          `json:"go"`
}

func describeMachine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(text), "\n") {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				m.CPU = strings.TrimLeft(name, "\t :")
				break
			}
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = block.ByteCount(info.Totalram) * block.ByteCount(info.Unit)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// tick is the unit of /proc/stat: USER_HZ is 100 wherever Linux runs.
const tick = 10 * time.Millisecond

// readCPU is the time that all processors of the machine have been busy.
func readCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, block.Wrap(block.Unavailable, err, "reading the processors' time")
	}
	return parseCPU(string(text))
}

// parseCPU reads the first line, "cpu user nice system idle iowait irq
// softirq steal guest guest_nice", and adds up all but idle, iowait, steal
// and guest, which user holds already.
func parseCPU(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, block.Errorf(block.Unavailable, "/proc/stat begins with %q", line)
	}
	var sum time.Duration
	for i, f := range fields[1:8] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, block.Wrap(block.Unavailable, err, "/proc/stat begins with %q", line)
		}
		const idle, iowait = 3, 4
		if i != idle && i != iowait {
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}
