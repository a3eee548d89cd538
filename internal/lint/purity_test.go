package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureStandard are the packages of the standard library that a pure package
// may import. time is among them for its Duration only.
var pureStandard = []string{
	"bufio", "bytes", "cmp", "container/heap", "container/list", "encoding", "encoding/binary", "encoding/hex", "errors",
	"fmt", "hash", "hash/crc32", "io", "iter", "maps", "math", "math/bits", "regexp", "slices", "sort", "strconv", "strings",
	"time", "unicode", "unicode/utf8",
}

// pureTime are the names of package time that read no clock.
var pureTime = []string{
	"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour", "Unix",
}

// clockReaders are the names of package time that do.
var clockReaders = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// checkPurity looks for anything that could make a pure package give two
// answers to one question.
func checkPurity(places map[string]place, files []*source) []string {
	var found []string
	for _, s := range files {
		if !places[s.pkg].pure || s.test || s.generated {
			continue
		}
		say := func(p token.Pos, what, instead string) {
			found = append(found, fmt.Sprintf("%s: %s in the pure package %s: %s", s.at(p), what, s.pkg, instead))
		}
		for _, imp := range s.file.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				say(imp.Pos(), "unreadable import", err.Error())
				continue
			}
			standard := !strings.Contains(strings.Split(path, "/")[0], ".")
			if standard && !slices.Contains(pureStandard, path) {
				say(imp.Pos(), "import of "+path, "let the shell that drives it do that, and hand the result in as an input")
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				say(n.Pos(), "a goroutine", "return what is to be done, and let the shell do it")
			case *ast.ChanType:
				say(n.Pos(), "a channel", "take inputs as arguments, give outputs as results")
			case *ast.SelectStmt:
				say(n.Pos(), "select", "take inputs as arguments, give outputs as results")
			case *ast.SendStmt:
				say(n.Pos(), "a send", "give outputs as results")
			case *ast.SelectorExpr:
				if isPackage(n.X, "time") && !slices.Contains(pureTime, n.Sel.Name) {
					say(n.Pos(), "time."+n.Sel.Name, "take the time as an argument; only time.Duration is a plain value")
				}
			}
			return true
		})
	}
	return found
}

// checkClock looks for readers of the machine's clock where time must come
// through internal/clock.
func checkClock(places map[string]place, files []*source) []string {
	var found []string
	for _, s := range files {
		if !places[s.pkg].noClock || s.test || s.generated {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && isPackage(sel.X, "time") && slices.Contains(clockReaders, sel.Sel.Name) {
				found = append(found, fmt.Sprintf("%s: time.%s in %s: use the clock.Clock it is given, so that tests and the simulator move time", s.at(sel.Pos()), sel.Sel.Name, s.pkg))
			}
			return true
		})
	}
	return found
}

func isPackage(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name && id.Obj == nil
}

func TestTreePurity(t *testing.T) { report(t, checkPurity(table, tree(t))) }

func TestTreeClock(t *testing.T) { report(t, checkClock(table, tree(t))) }

func TestRulePurity(t *testing.T) {
	places := map[string]place{"brain": {pure: true}, "shell": {}}
	check := func(path, body string) []string {
		return checkPurity(places, snippet(t, path, "package x\n"+body))
	}
	bites(t, check("brain/a.go", "import \"math/rand/v2\"\nvar _ = rand.Int"), "import of math/rand/v2")
	bites(t, check("brain/a.go", "import \"sync\"\nvar _ sync.Mutex"), "import of sync")
	bites(t, check("brain/a.go", "import \"log/slog\"\nvar _ slog.Logger"), "import of log/slog")
	bites(t, check("brain/a.go", "func f() { go f() }"), "a goroutine")
	bites(t, check("brain/a.go", "func f(c chan int) { c <- 1 }"), "a channel", "a send")
	bites(t, check("brain/a.go", "func f() { select {} }"), "select")
	bites(t, check("brain/a.go", "import \"time\"\nvar t0 = time.Now()"), "time.Now")
	bites(t, check("brain/a.go", "import \"time\"\nvar t time.Time"), "time.Time")
	bites(t, check("brain/a.go", "import \"time\"\nconst d time.Duration = 2 * time.Second"))
	bites(t, check("brain/a_test.go", "func f() { go f() }"))
	bites(t, check("shell/a.go", "func f() { go f() }"))
}

func TestRuleClock(t *testing.T) {
	places := map[string]place{"core": {noClock: true}, "edge": {}}
	text := "package x\nimport \"time\"\nvar t0 = time.Now()\nvar d time.Duration"
	bites(t, checkClock(places, snippet(t, "core/a.go", text)), "clock.Clock")
	bites(t, checkClock(places, snippet(t, "core/a_test.go", text)))
	bites(t, checkClock(places, snippet(t, "edge/a.go", text)))
}
