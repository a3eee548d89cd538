package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// minDocLines is how long the shortest package comment is that can tell job,
// non-job, invariants and goroutines.
const minDocLines = 4

// checkDocs asks each package for a doc.go with a package comment; a command
// has its comment in whatever file it likes.
func checkDocs(files []*source) []string {
	type state struct{ generated, main, docFile, ok bool }
	packages := map[string]*state{}
	var order []string
	for _, s := range files {
		if s.test {
			continue
		}
		p := packages[s.pkg]
		if p == nil {
			p = &state{generated: true}
			packages[s.pkg] = p
			order = append(order, s.pkg)
		}
		p.generated = p.generated && s.generated
		p.main = p.main || s.file.Name.Name == "main"
		isDoc := strings.HasSuffix(s.path, "/doc.go")
		p.docFile = p.docFile || isDoc
		if s.file.Doc == nil || !isDoc && !p.main {
			continue
		}
		comment := s.file.Doc.Text()
		first := "Package " + s.file.Name.Name + " "
		if p.main {
			first = "Command "
		}
		p.ok = p.ok || strings.HasPrefix(comment, first) && (p.main || strings.Count(comment, "\n") >= minDocLines)
	}
	var found []string
	for _, path := range order {
		switch p := packages[path]; {
		case p.ok, p.generated:
		case p.main:
			found = append(found, fmt.Sprintf("command %s has no comment \"Command ...\" at its package clause", path))
		case !p.docFile:
			found = append(found, fmt.Sprintf("package %s has no doc.go: write its job, non-job, invariants and goroutines", path))
		default:
			found = append(found, fmt.Sprintf("%s/doc.go: begin with \"Package <name> \" and tell job, non-job, invariants and goroutines (%d lines at least)", path, minDocLines))
		}
	}
	return found
}

// nakedAllowed are exported functions, "pkg.Func" or "pkg.Type.Method", and
// fields, "pkg.Type.Field", that may show a plain 64 bit integer, with the
// reason.
var nakedAllowed = map[string]string{
	"logstore.Stats.Batches":         "a counter for metrics",
	"logstore.Stats.Records":         "a counter for metrics",
	"metadata.VolumeStatus.Counters": "counters by name, for people",
	"metadata.LeaseReport.Counters":  "counters by name, for people",
	"metadata.SegmentReport.Damaged": "a counter for status",
	"metadata.Node.Damaged":          "a counter for status",
	"metadata.Heartbeat.Damages":     "a counter for status",
}

// interfaceMethods have signatures that the standard library prescribes.
var interfaceMethods = []string{"ReadAt", "WriteAt", "ReadFrom", "WriteTo", "Seek"}

// checkNaked looks for plain 64 bit integers in what typed packages export:
// parameters and results of functions and methods, fields of structs.
func checkNaked(places map[string]place, files []*source) []string {
	var found []string
	for _, s := range files {
		if !places[s.pkg].typed || s.test || s.generated {
			continue
		}
		say := func(name string, id *ast.Ident) {
			if name = s.pkg + "." + name; nakedAllowed[name] == "" {
				found = append(found, fmt.Sprintf("%s: %s shows a naked %s: give it a type of internal/block, or a named type of its own", s.at(id.Pos()), name, id.Name))
			}
		}
		signature := func(name string, ft *ast.FuncType) {
			for _, fields := range []*ast.FieldList{ft.Params, ft.Results} {
				if fields == nil {
					continue
				}
				for _, f := range fields.List {
					if id := naked(f.Type); id != nil {
						say(name, id)
					}
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				name := functionName(n)
				private := slices.ContainsFunc(strings.Split(name, "."), func(part string) bool { return !ast.IsExported(part) })
				if !private && !slices.Contains(interfaceMethods, n.Name.Name) {
					signature(name, n.Type)
				}
				return false
			case *ast.TypeSpec:
				if !n.Name.IsExported() {
					return false
				}
				switch x := n.Type.(type) {
				case *ast.StructType:
					for _, f := range x.Fields.List {
						for _, name := range f.Names {
							if id := naked(f.Type); id != nil && name.IsExported() {
								say(n.Name.Name+"."+name.Name, id)
							}
						}
					}
				case *ast.InterfaceType:
					for _, m := range x.Methods.List {
						if ft, ok := m.Type.(*ast.FuncType); ok && !slices.Contains(interfaceMethods, m.Names[0].Name) {
							signature(n.Name.Name+"."+m.Names[0].Name, ft)
						}
					}
				}
			}
			return true
		})
	}
	return found
}

// naked is the plain 64 bit integer in a type, looked for through pointers,
// slices, arrays and maps; nil if there is none.
func naked(x ast.Expr) *ast.Ident {
	switch x := x.(type) {
	case *ast.Ident:
		if x.Name == "uint64" || x.Name == "int64" {
			return x
		}
	case *ast.StarExpr:
		return naked(x.X)
	case *ast.ArrayType:
		return naked(x.Elt)
	case *ast.Ellipsis:
		return naked(x.Elt)
	case *ast.MapType:
		if id := naked(x.Key); id != nil {
			return id
		}
		return naked(x.Value)
	}
	return nil
}

func TestTreeDocs(t *testing.T) { report(t, checkDocs(tree(t))) }

func TestTreeNaked(t *testing.T) { report(t, checkNaked(table, tree(t))) }

func TestRuleDocs(t *testing.T) {
	doc := "// Package a does one thing.\n//\n// Non-job: b.\n//\n// Goroutines: none.\npackage a\n"
	bites(t, checkDocs(snippet(t, "a/doc.go", doc)))
	bites(t, checkDocs(snippet(t, "a/a.go", doc)), "no doc.go")
	bites(t, checkDocs(snippet(t, "a/doc.go", "// Package a is.\npackage a\n")), "begin with")
	bites(t, checkDocs(snippet(t, "a/doc.go", "package a\n")), "begin with")
	bites(t, checkDocs(snippet(t, "c/main.go", "package main\n")), "Command")
	bites(t, checkDocs(snippet(t, "c/main.go", "// Command c is.\npackage main\n")))
	bites(t, checkDocs(snippet(t, "p/p.pb.go", "// Code generated by x. DO NOT EDIT.\n\npackage p\n")))
}

func TestRuleNaked(t *testing.T) {
	places := map[string]place{"core": {typed: true}}
	check := func(body string) []string {
		return checkNaked(places, snippet(t, "core/a.go", "package core\n"+body))
	}
	bites(t, check("func F(lsn uint64) {}"), "core.F shows a naked uint64")
	bites(t, check("func F() (n int64, err error) { return }"), "int64")
	bites(t, check("type T struct{ At []uint64; at uint64 }"), "core.T")
	bites(t, check("type T interface{ M(map[string]*int64) }"), "core.T.M")
	bites(t, check("type LSN uint64\nfunc F(l LSN, n int) {}\nfunc f(n uint64) {}\ntype t struct{ N uint64 }"))
	bites(t, check("type T struct{}\nfunc (T) ReadAt(p []byte, off int64) (int, error) { return 0, nil }\nfunc (T) M(n uint64) {}"), "core.T.M")
}
