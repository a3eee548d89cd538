package cluster

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// BinaryEnv names an environment variable with the path of a sextant binary
// to test instead of one built from the tree.
const BinaryEnv = "SEXTANT_BINARY"

// built keeps one binary for each set of flags in a test process.
var built struct {
	sync.Mutex
	paths map[string]string
}

// Build builds the sextant binary from this tree, once in a test process for
// the same flags (such as "-race"), and gives its path; or that of BinaryEnv,
// if no flags are asked for.
func Build(tb testing.TB, flags ...string) string {
	tb.Helper()
	if path := os.Getenv(BinaryEnv); path != "" && len(flags) == 0 {
		return path
	}
	path, err := build(flags)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func build(flags []string) (string, error) {
	built.Lock()
	defer built.Unlock()
	key := strings.Join(flags, " ")
	if path, ok := built.paths[key]; ok {
		return path, nil
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	// Beyond a single test, and so beyond its folder: go build makes
	// nothing anew when the tree has not changed.
	name := "sextant-test"
	for _, f := range flags {
		name += strings.Map(onlyLetters, f)
	}
	path := filepath.Join(root, "bin", name)
	args := append(append([]string{"build", "-o", path}, flags...), ".")
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", block.Errorf(block.Invalid, "go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if built.paths == nil {
		built.paths = map[string]string{}
	}
	built.paths[key] = path
	return path, nil
}

func onlyLetters(r rune) rune {
	if r >= 'a' && r <= 'z' || r == '-' {
		return r
	}
	return -1
}

// ModuleRoot is the folder of go.mod.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", block.Wrap(block.NotFound, err, "asking go for the module's folder")
	}
	mod := string(bytes.TrimSpace(out))
	if mod == "" || mod == os.DevNull {
		return "", block.Errorf(block.NotFound, "no go.mod here: run from within the tree")
	}
	return filepath.Dir(mod), nil
}
