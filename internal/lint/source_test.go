package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// source is one parsed Go file of the tree.
type source struct {
	path      string // relative to the module's root, slashes
	pkg       string // its folder, as in table
	test      bool
	generated bool
	lines     int
	text      string
	set       *token.FileSet
	file      *ast.File
}

// at prints a position as path:line.
func (s *source) at(p token.Pos) string {
	return s.path + ":" + itoa(s.set.Position(p).Line)
}

// parse makes a source of text.
func parse(path, text string) (*source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &source{
		path:      path,
		pkg:       filepath.ToSlash(filepath.Dir(path)),
		test:      strings.HasSuffix(path, "_test.go"),
		generated: ast.IsGenerated(file),
		lines:     strings.Count(text, "\n"),
		text:      text,
		set:       set,
		file:      file,
	}, nil
}

const root = "../.."

// skipFolder tells which folders hold no source of ours.
func skipFolder(name string) bool {
	return strings.HasPrefix(name, ".") && name != "." && name != ".." && name != ".ci" ||
		name == "bin" || name == "sextant-data" || name == "testdata"
}

// walk calls f with each file of the tree, by its path relative to root.
func walk(f func(path string) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && skipFolder(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(rel))
	})
}

var loadTree = sync.OnceValues(func() ([]*source, error) {
	var all []*source
	err := walk(func(path string) error {
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		s, err := parse(path, string(text))
		if err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	return all, err
})

// tree is all Go source of the module.
func tree(t *testing.T) []*source {
	t.Helper()
	all, err := loadTree()
	if err != nil {
		t.Fatalf("reading the tree: %v", err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files under %s: the rules see nothing", len(all), root)
	}
	return all
}

// snippet parses one made-up file for the test of a rule.
func snippet(t *testing.T, path, text string) []*source {
	t.Helper()
	s, err := parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return []*source{s}
}

// report fails the test with each finding.
func report(t *testing.T, findings []string) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}

// bites asserts that a rule found exactly one thing for each of want, in
// order, each holding the text given.
func bites(t *testing.T, findings []string, want ...string) {
	t.Helper()
	if len(findings) != len(want) {
		t.Fatalf("%d findings, want %d:\n%s", len(findings), len(want), strings.Join(findings, "\n"))
	}
	for i, w := range want {
		if !strings.Contains(findings[i], w) {
			t.Errorf("finding %q does not tell of %q", findings[i], w)
		}
	}
}
