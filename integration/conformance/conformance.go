package conformance

import (
	"bufio"
	"bytes"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed suite.py
var suite []byte

const (
	// python is Debian's own: python3-libnbd works with no other.
	python = "/usr/bin/python3"
	// CasesMin is how many cases Run must have run.
	CasesMin = 40
	// timeMax bounds one foreign program.
	timeMax = 5 * time.Minute
)

// Run runs every case of suite.py as a subtest, against the export at uri
// (nbd://HOST:PORT/NAME) and the same server's Unix socket at socket. The
// export must be writable and of 64 MiB or more; its contents are destroyed.
func Run(t *testing.T, uri, socket string) {
	script := filepath.Join(t.TempDir(), "suite.py")
	if err := os.WriteFile(script, suite, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := output(t, python, script, uri, socket)
	if out == nil {
		t.Fatalf("run the suite (it needs Debian's python3 and python3-libnbd): %v", err)
	}
	cases := 0
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		verdict, rest, _ := strings.Cut(s.Text(), " ")
		name, message, _ := strings.Cut(rest, ": ")
		switch verdict {
		case "ok":
			cases++
			t.Run(name, func(*testing.T) {})
		case "FAIL":
			cases++
			t.Run(name, func(t *testing.T) { t.Error(message) })
		}
	}
	if err != nil {
		t.Errorf("the suite ends with %v:\n%s", err, out)
	}
	if cases < CasesMin {
		t.Errorf("%d cases were run, want at least %d:\n%s", cases, CasesMin, out)
	}
}

// output runs a program and returns what it prints on both streams; nil when
// it could not be started.
func output(t *testing.T, name string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(timeMax, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	return append([]byte{}, out.Bytes()...), err
}

// must runs a program that must succeed; pkg is the Debian package that it
// comes from.
func must(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	out, err := output(t, name, args...)
	if err != nil {
		t.Fatalf("%s (of Debian's %s) %q: %v\n%s", name, pkg, args, err, out)
	}
	return string(out)
}
