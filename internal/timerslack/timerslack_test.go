package timerslack_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/timerslack"
)

const (
	role = "TIMERSLACK_TEST_ROLE"
	wide = 3 * time.Millisecond
)

func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	err := timerslack.Widen(wide)
	fmt.Println("pid", os.Getpid(), "args", os.Args[1:], "err", err)
	for _, name := range threads() {
		fmt.Println(name)
	}
	os.Exit(0)
}

// threads tells the slack of each thread of this process.
func threads() []string {
	var out []string
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return []string{err.Error()}
	}
	for _, t := range tasks {
		ns, err := os.ReadFile(filepath.Join("/proc", t.Name(), "timerslack_ns"))
		if err != nil {
			return []string{err.Error()}
		}
		out = append(out, "slack "+strings.TrimSpace(string(ns)))
	}
	return out
}

// mayBeWide: the monitor is; so are perhaps a thread of the runtime that makes
// others, and two that were asleep when they were to be found.
const mayBeWide = 4

// TestFewThreadsHaveTheSlack looks at all threads of a process that widened its
// slack. (Reading other threads' slack takes root.)
func TestFewThreadsHaveTheSlack(t *testing.T) {
	have, err := timerslack.Get()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "one", "two words")
	cmd.Env = append(os.Environ(), role+"=child")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	want := fmt.Sprintf("pid %d args [one two words] err <nil>", cmd.Process.Pid)
	if lines[0] != want {
		t.Errorf("the process says %q, want %q", lines[0], want)
	}
	slacks := lines[1:]
	if len(slacks) < 3 {
		t.Fatalf("there are no threads in %q", lines)
	}
	monitor := fmt.Sprint("slack ", wide.Nanoseconds())
	others := slices.DeleteFunc(slices.Clone(slacks), func(l string) bool { return l == monitor })
	if n := len(slacks) - len(others); n < 1 || n > mayBeWide || len(others) < 3*mayBeWide {
		t.Errorf("%d of %d threads have the wide slack: %q", n, len(slacks), slacks)
	}
	for _, l := range others {
		if l != fmt.Sprint("slack ", have.Nanoseconds()) {
			t.Errorf("a thread says %q, want %v", l, have)
		}
	}
}

// TestNothingToDo: a slack that is wide already is no reason to start anew,
// which a test would not survive.
func TestNothingToDo(t *testing.T) {
	if err := timerslack.Widen(time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	got, err := timerslack.Get()
	if err != nil || got < time.Nanosecond {
		t.Fatalf("slack %v, %v", got, err)
	}
}
