package lint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A ratchet is a file of lines "name count": what is tolerated, and how much
// of it. Lines that begin with # are comments.
type ratchet map[string]int

func readRatchet(t *testing.T, name string) ratchet {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRatchet(string(text))
	if err != nil {
		t.Fatalf("testdata/%s: %v", name, err)
	}
	return r
}

func parseRatchet(text string) (ratchet, error) {
	r := ratchet{}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, count, ok := strings.Cut(line, " ")
		n, err := strconv.Atoi(count)
		if !ok || err != nil || n <= 0 {
			return nil, fmt.Errorf("line %d: %q is not \"name count\"", i+1, line)
		}
		if _, twice := r[name]; twice {
			return nil, fmt.Errorf("line %d: %s is listed twice", i+1, name)
		}
		r[name] = n
	}
	return r, nil
}

// compare finds what has grown beyond the ratchet, and what has shrunk below
// it, so that the ratchet shrinks too. limit is what needs no entry; instead
// says what to do about something new.
func (r ratchet) compare(now map[string]int, limit int, unit, file, instead string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		n, listed := r[name]
		switch {
		case now[name] <= limit:
		case !listed:
			found = append(found, fmt.Sprintf("%s: %d %s, at most %d: %s", name, now[name], unit, limit, instead))
		case now[name] > n:
			found = append(found, fmt.Sprintf("%s: %d %s, and testdata/%s tolerates %d, which may only shrink: %s", name, now[name], unit, file, n, instead))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		switch n := now[name]; {
		case n <= limit:
			found = append(found, fmt.Sprintf("%s: needs no entry in testdata/%s any more: remove it", name, file))
		case n < r[name]:
			found = append(found, fmt.Sprintf("%s: shrunk to %d %s: write that into testdata/%s", name, n, unit, file))
		}
	}
	return found
}

func TestRuleRatchet(t *testing.T) {
	r, err := parseRatchet("# why\na 5\nb 7\n")
	if err != nil {
		t.Fatal(err)
	}
	check := func(now map[string]int) []string { return r.compare(now, 3, "lines", "f.txt", "split it") }
	bites(t, check(map[string]int{"a": 5, "b": 7, "c": 3}))
	bites(t, check(map[string]int{"a": 6, "b": 7}), "may only shrink")
	bites(t, check(map[string]int{"a": 5, "b": 7, "c": 4}), "split it")
	bites(t, check(map[string]int{"a": 4, "b": 3}), "shrunk to 4", "remove it")
	bites(t, check(map[string]int{"a": 5}), "remove it")

	for _, wrong := range []string{"a", "a x", "a 1\na 2", "a 0"} {
		if _, err := parseRatchet(wrong); err == nil {
			t.Errorf("ratchet %q was taken", wrong)
		}
	}
}
