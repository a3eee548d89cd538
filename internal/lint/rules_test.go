package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ruleTest is the name of a test of a rule of docs/PROTOCOL.md: it begins with
// the rule's number.
var ruleTest = regexp.MustCompile(`^Test([RB][1-9][0-9]*)(?:[^0-9]|$)`)

// ruleNumbers are the rules that must each have a test: R1 to R15, B1 to B7.
func ruleNumbers() (all []string) {
	for i := range 15 {
		all = append(all, fmt.Sprintf("R%d", i+1))
	}
	for i := range 7 {
		all = append(all, fmt.Sprintf("B%d", i+1))
	}
	return all
}

// ruleTests are the tests named for rules: by rule, then "package.TestName".
func ruleTests(files []*source) map[string][]string {
	found := map[string][]string{}
	for _, s := range files {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			if m := ruleTest.FindStringSubmatch(fn.Name.Name); m != nil {
				found[m[1]] = append(found[m[1]], s.pkg+"."+fn.Name.Name)
			}
		}
	}
	return found
}

// ruleRow is a row of the table in docs/TESTING.md: rule, package, tests.
var ruleRow = regexp.MustCompile("(?m)^\\| ([RB][1-9][0-9]*) \\| `([^`]+)` \\| (.*) \\|$")

var quotedTest = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")

// checkRules wants a test and a row for each rule, and a test for each name in
// the table.
func checkRules(files []*source, table string) []string {
	tests := ruleTests(files)
	var found []string
	rows := map[string]bool{}
	for _, row := range ruleRow.FindAllStringSubmatch(table, -1) {
		rule, pkg := row[1], row[2]
		rows[rule] = true
		names := quotedTest.FindAllStringSubmatch(row[3], -1)
		if len(names) == 0 {
			found = append(found, fmt.Sprintf("docs/TESTING.md: the row of %s in %s names no test: name one, or remove the row", rule, pkg))
		}
		for _, n := range names {
			if !slices.Contains(tests[rule], pkg+"."+n[1]) {
				found = append(found, fmt.Sprintf("docs/TESTING.md: %s has no %s for %s: write the name that it has now", pkg, n[1], rule))
			}
		}
	}
	for _, rule := range ruleNumbers() {
		if len(tests[rule]) == 0 {
			found = append(found, fmt.Sprintf("no test is named for rule %s: name the one that proves it Test%s...", rule, rule))
		}
		if !rows[rule] {
			found = append(found, fmt.Sprintf("docs/TESTING.md has no row for rule %s: add the tests that prove it", rule))
		}
	}
	return found
}

func TestTreeRules(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(root, "docs", "TESTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkRules(tree(t), string(table)))
}

func TestRuleRules(t *testing.T) {
	var body, table strings.Builder
	body.WriteString("package x\n")
	for _, r := range ruleNumbers() {
		fmt.Fprintf(&body, "func Test%sHolds(t *testing.T) {}\n", r)
		fmt.Fprintf(&table, "| %s | `a` | `Test%sHolds` |\n", r, r)
	}
	check := func(body, table string) []string { return checkRules(snippet(t, "a/a_test.go", body), table) }
	bites(t, check(body.String(), table.String()))
	bites(t, check(strings.Replace(body.String(), "TestR1H", "TestX1H", 1), table.String()), "has no TestR1Holds", "for rule R1:")
	bites(t, check(strings.Replace(body.String(), "TestB7H", "TestB77H", 1), table.String()), "has no TestB7Holds", "for rule B7:")
	bites(t, check(body.String(), strings.Replace(table.String(), "| R3 |", "| X |", 1)), "no row for rule R3")
	bites(t, check(body.String(), strings.Replace(table.String(), "TestR5Holds", "TestR5Held", 1)), "has no TestR5Held for R5")
	bites(t, check(body.String(), strings.Replace(table.String(), "`TestR5Holds`", "none", 1)), "names no test")
	bites(t, check(body.String(), strings.Replace(table.String(), "`a`", "`b`", 1)), "b has no TestR1Holds")
}
