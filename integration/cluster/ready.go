package cluster

import (
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// Ready is what a daemon said when it began to serve: addresses by key.
type Ready map[string]string

// ParseReady reads a daemon's ready line; ok is false for any other line. A
// line that begins as one and has a field that is not key=value, or a key
// twice, is an error of kind Invalid.
func ParseReady(line string) (r Ready, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != "ready" {
		return nil, false, nil
	}
	r = Ready{}
	for _, f := range fields[1:] {
		key, value, found := strings.Cut(f, "=")
		if !found || key == "" || value == "" {
			return nil, true, block.Errorf(block.Invalid, "ready line %q: field %q is not key=value", line, f)
		}
		if _, twice := r[key]; twice {
			return nil, true, block.Errorf(block.Invalid, "ready line %q: key %q stands twice", line, key)
		}
		r[key] = value
	}
	return r, true, nil
}
