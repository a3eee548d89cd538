package cluster

import (
	"bytes"
	"io"
	"os"
	"strings"
)

const (
	// tailLines is how much of a log is shown when something went wrong.
	tailLines = 60
	// tailBytes bounds what is read of a log to show its end.
	tailBytes = 64 << 10
)

// Tail is the end of a log file, at most n lines, each indented; or why it
// cannot be read.
func Tail(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return "  (" + err.Error() + ")\n"
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return "  (" + err.Error() + ")\n"
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return "  (" + err.Error() + ")\n"
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "  " + strings.Join(lines, "\n  ") + "\n"
}

// alarms are what no daemon's log may hold.
var alarms = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "invariant violated"}

// alarm is the first alarming line of a log with what follows it, or "".
func alarm(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		for _, a := range alarms {
			if bytes.Contains(line, []byte(a)) {
				return string(bytes.Join(lines[i:min(i+tailLines, len(lines))], []byte("\n"))), nil
			}
		}
	}
	return "", nil
}
