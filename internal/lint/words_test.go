package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// word is text that does not belong in the source. Patterns are put together
// from halves so that this file does not find itself.
type word struct {
	pattern *regexp.Regexp
	instead string
}

var words = []word{
	{regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|XX" + "X|HA" + `CK)\b`),
		"do it now, or file an issue; a comment tells what is, not what is missing"},
	{regexp.MustCompile(`(^|[\s"'(` + "`" + `=])` + "/wo" + `rk/`),
		"the project stands alone: no path of one machine"},
	{regexp.MustCompile("shared/" + "design"),
		"the project stands alone: cite a rule by its number, or docs/"},
}

// skipCall finds tests that pass by not running.
var skipCall = word{regexp.MustCompile(`\b(t|tb|b)\.Ski` + `p(f|Now)?\(|testing\.Sho` + `rt\(`),
	"a test fails where its gear is missing; scripts/deps installs the gear"}

// plainText are the files besides Go that are read for words.
var plainText = []string{".go", ".md", ".sh", ".py", ".proto", ".yml", ".toml", ".txt", ".service", ""}

func checkWords(path, text string) []string {
	var found []string
	check := words
	if strings.HasSuffix(path, "_test.go") {
		check = append(slices.Clone(words), skipCall)
	}
	for i, line := range strings.Split(text, "\n") {
		for _, w := range check {
			if hit := w.pattern.FindString(line); hit != "" {
				found = append(found, fmt.Sprintf("%s:%d: %q: %s", path, i+1, strings.TrimSpace(hit), w.instead))
			}
		}
	}
	return found
}

func TestTreeWords(t *testing.T) {
	err := walk(func(path string) error {
		if !slices.Contains(plainText, filepath.Ext(path)) || path == "LICENSE" || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		if !isText(text) {
			return nil
		}
		report(t, checkWords(path, string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// isText tells source from a binary that was built into the tree.
func isText(b []byte) bool { return !slices.Contains(b[:min(len(b), 1024)], 0) }

func TestRuleWords(t *testing.T) {
	bites(t, checkWords("a.go", "// TO"+"DO: later\n"), "do it now")
	bites(t, checkWords("a.go", "path := \"/wo"+"rk/x\"\n"), "stands alone")
	bites(t, checkWords("a.md", "see shared/"+"design/a.md\n"), "stands alone")
	bites(t, checkWords("a_test.go", "t.Ski"+"p()\n"), "scripts/deps")
	bites(t, checkWords("a.sh", "mktemp a.XXXXXX; cd framework/x; todo\n"))
}
