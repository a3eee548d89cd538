package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// listed is what go list tells of a package.
type listed struct {
	ImportPath   string
	Name         string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (l listed) path() string {
	if l.ImportPath == modulePath {
		return "."
	}
	return strings.TrimPrefix(l.ImportPath, modulePath+"/")
}

func goList(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e",
		"-json=ImportPath,Name,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, l)
	}
}

// fileDoors are the standard packages that open files past internal/vfs.
// syscall is not among them: its error numbers are how a file system says that
// a disk is full or broken.
var fileDoors = []string{"os", "io/ioutil"}

// checkImports compares packages with the table.
func checkImports(places map[string]place, packages []listed) []string {
	var found []string
	for _, p := range packages {
		at, known := places[p.path()]
		if !known {
			found = append(found, fmt.Sprintf("package %s is unknown: add it to the table in internal/lint/table_test.go, at the lowest level it can do with", p.path()))
			continue
		}
		say := func(imp, instead string) {
			found = append(found, fmt.Sprintf("package %s (level %d) imports %s: %s (its place: %s)", p.path(), at.level, imp, instead, at.why))
		}
		for _, imp := range p.Imports {
			if reason := refuse(at, imp); reason != "" {
				say(imp, reason)
			}
		}
		tests := slices.Concat(p.TestImports, p.XTestImports)
		sort.Strings(tests)
		for _, imp := range slices.Compact(tests) {
			if reason := refuseInTest(places, p.path(), at, imp); reason != "" {
				say(imp+" in a test", reason)
			}
		}
	}
	return found
}

// refuse says why a package at that place may not import imp; "" if it may.
func refuse(at place, imp string) string {
	own, ours := ownPath(imp)
	switch {
	case ours && !slices.Contains(at.may, own) && !slices.Contains(at.may, everything):
		return "not in its list; turn the dependency round with a small interface declared here, or move what both need down"
	case ours:
		return ""
	case !strings.Contains(strings.Split(imp, "/")[0], "."):
		if at.noFiles && slices.Contains(fileDoors, imp) {
			return "files are reached through internal/vfs only (errors: io/fs)"
		}
		return ""
	case !hasPrefix(at.third, imp):
		return "no dependency of this package; take the standard library, or give the table a reason for it"
	}
	return ""
}

// refuseInTest is refuse for tests, which may also import what stands beside
// their package or below it, and the test libraries.
func refuseInTest(places map[string]place, path string, at place, imp string) string {
	own, ours := ownPath(imp)
	if ours {
		if own == path || slices.Contains(testKit, own) || slices.Contains(at.may, everything) {
			return ""
		}
		if there, known := places[own]; known && there.level <= at.level {
			return ""
		}
		return "it stands above; a test that needs it belongs there or in integration"
	}
	if slices.Contains(fileDoors, imp) || hasPrefix(testLibraries, imp) {
		return ""
	}
	return refuse(at, imp)
}

func ownPath(imp string) (string, bool) {
	if imp == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imp, modulePath+"/")
}

func hasPrefix(prefixes []string, imp string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return imp == p || strings.HasPrefix(imp, p+"/")
	})
}

// plainUses are packages that are not pure, of which pure packages use what
// is: assertions, rules that are broken on purpose, buffers as bytes, commands and results.
var plainUses = []string{"internal/invariant", "internal/mutant", "internal/slab", "metadata", "metadata/metadatapb"}

func TestTreeImports(t *testing.T) {
	report(t, checkImports(table, goList(t)))
}

// TestTableGoesDown: no place may allow what stands above it, nor a circle.
func TestTableGoesDown(t *testing.T) {
	for path, at := range table {
		if at.why == "" {
			t.Errorf("%s: the table gives no reason for its place", path)
		}
		for _, may := range at.may {
			if may == everything {
				continue
			}
			there, known := table[may]
			if !known {
				t.Errorf("%s may import %s, which the table does not know", path, may)
				continue
			}
			if there.level > at.level {
				t.Errorf("%s (level %d) may import %s (level %d): imports go down", path, at.level, may, there.level)
			}
			if there.level == at.level && slices.Contains(there.may, path) {
				t.Errorf("%s and %s may import each other", path, may)
			}
			if at.pure && !there.pure && !slices.Contains(plainUses, may) {
				t.Errorf("%s is pure and may import %s, which is not", path, may)
			}
		}
	}
}

func TestRuleImports(t *testing.T) {
	places := map[string]place{
		"low":  {level: 0, noFiles: true, why: "at the bottom"},
		"side": {level: 1, why: "beside"},
		"mid":  {level: 1, may: []string{"low"}, third: []string{"example.org/lib"}, why: "in the middle"},
	}
	ours := func(p string) string { return modulePath + "/" + p }
	check := func(p listed) []string { return checkImports(places, []listed{p}) }

	bites(t, check(listed{ImportPath: ours("new")}), "add it to the table")
	bites(t, check(listed{ImportPath: ours("mid"), Imports: []string{ours("low"), "fmt", "os", "example.org/lib/sub"}}))
	bites(t, check(listed{ImportPath: ours("low"), Imports: []string{ours("mid")}}), "small interface")
	bites(t, check(listed{ImportPath: ours("mid"), Imports: []string{ours("side")}}), "small interface")
	bites(t, check(listed{ImportPath: ours("low"), Imports: []string{"os"}}), "internal/vfs")
	bites(t, check(listed{ImportPath: ours("mid"), Imports: []string{"example.org/library"}}), "standard library")
	bites(t, check(listed{ImportPath: ours("mid"), TestImports: []string{ours("side"), "os", "pgregory.net/rapid"}}))
	bites(t, check(listed{ImportPath: ours("low"), XTestImports: []string{ours("mid")}}), "belongs there")
	bites(t, check(listed{ImportPath: ours("mid"), Imports: []string{"pgregory.net/rapid"}}), "standard library")
}
