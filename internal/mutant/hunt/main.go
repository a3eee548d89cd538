// Command hunt runs the tests once with each rule broken (package mutant), and
// fails if a mutant survives. It prints a line for each: who killed it, after
// how many crashes or worlds of which seed, and how long that took.
//
//	go run ./internal/mutant/hunt [mutant ...]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sextantdisk/sextant/internal/mutant"
)

// prey is a mutant and those who hunt it, in this order: the first round that
// fails has killed it.
type prey struct {
	mutant mutant.Mutant
	rounds []hunter
}

// hunter is a package, relative to the module, and which of its tests run.
type hunter struct {
	pkg  string
	args []string
}

var (
	// crashes are the log store's crash tests, suite is all its other tests.
	crashes = hunter{"logstore", []string{"-test.run", "^TestCrash(EverySubset|Random)$", "-crash.time", "8s"}}
	suite   = hunter{"logstore", []string{"-test.skip", "^(TestCrash(EverySubset|Random)|TestAllOnExt4)$"}}
	// worlds are the simulator's, always the same ones, so that the number of
	// the one that kills can be compared.
	worlds = hunter{"integration/sim", []string{"-test.run", "^TestProtocol$", "-sim.first", "1", "-sim.n", "6000"}}
	// own are the tests of the rules that a second one covers (mutant.Covered).
	own = map[mutant.Mutant]hunter{
		mutant.GiveToAnybody:    {"segmentd/segment", nil},
		mutant.TakeAfterFence:   {"segmentd", rules},
		mutant.BornUnasked:      {"segmentd", rules},
		mutant.OldMembers:       {"segmentd/segment", nil},
		mutant.UnhydratedCounts: {"volume/quorum", nil},
		mutant.FewFind:          {"volume/quorum", nil},
		mutant.InstallUnasked:   {"volume/quorum", nil},
		mutant.ChangeInRecovery: {"metadata/state", nil},
		mutant.CancelUnwaited:   {"volume/pg", nil},
		mutant.MendBlindly:      {"logstore", []string{"-test.run", "^TestS2"}},
		mutant.FloorMovesOn:     {"logstore", rules},
		mutant.LeafStaysWhole:   {"logstore", rules},
		mutant.LeafStaysNew:     {"logstore", rules},
		mutant.RoundsAlike:      {"logstore/hydration", rules},
		mutant.RoundUnmissed:    {"logstore/hydration", rules},
	}
	rules = []string{"-test.run", "^TestR2"}
)

// preys has a line for each mutant.
func preys() (all []prey) {
	for _, m := range mutant.OfLogStore() {
		all = append(all, prey{m, []hunter{crashes, suite}})
	}
	for _, m := range mutant.OfProtocol() {
		all = append(all, prey{m, []hunter{worlds}})
	}
	for _, m := range mutant.Covered() {
		all = append(all, prey{m, []hunter{own[m]}})
	}
	return all
}

// sane is what must pass with the mutants built in and none of them alive; of
// packages that are not named here all tests must.
var sane = map[string][]string{
	"logstore":        {"-test.run", "^TestCrash", "-crash.time", "1s"},
	"integration/sim": {"-test.run", "^TestProtocol$", "-sim.first", "1", "-sim.n", "100"},
	"segmentd":        rules,
}

// roundMax bounds one round; a hunt that takes longer shows nothing.
const roundMax = 2 * time.Minute

func main() {
	if err := hunt(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hunt:", err)
		os.Exit(1)
	}
}

func hunt(only []string) error {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	built := map[string]string{}
	survivors := 0
	for _, p := range preys() {
		if len(only) > 0 && !slices.Contains(only, string(p.mutant)) {
			continue
		}
		for _, h := range p.rounds {
			if built[h.pkg] == "" {
				if built[h.pkg], err = build(dir, h.pkg); err != nil {
					return err
				}
			}
		}
		died, err := p.run(built)
		if err != nil {
			return err
		}
		if !died {
			survivors++
		}
	}
	if survivors > 0 {
		return fmt.Errorf("%d mutants survive: the tests do not notice that their rules are broken", survivors)
	}
	return nil
}

// build compiles a package's tests with the mutants, and sees to it that they
// pass while none is alive.
func build(dir, pkg string) (string, error) {
	binary := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+".test")
	out, err := exec.Command("go", "test", "-c", "-tags", "mutants", "-o", binary, "./"+pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the tests of %s: %w\n%s", pkg, err, out)
	}
	if out, died, err := round(binary, pkg, "", sane[pkg]); err != nil || died {
		return "", fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// run hunts one mutant and prints what became of it.
func (p *prey) run(built map[string]string) (died bool, err error) {
	start := time.Now()
	for _, h := range p.rounds {
		out, died, err := round(built[h.pkg], h.pkg, p.mutant, h.args)
		if err != nil {
			return false, fmt.Errorf("mutant %s: %w\n%s", p.mutant, err, out)
		}
		if died {
			fmt.Printf("%-24s died      %-5.1fs  %s\n", p.mutant, time.Since(start).Seconds(), killer(out))
			return true, nil
		}
	}
	fmt.Printf("%-24s SURVIVES  %-5.1fs\n", p.mutant, time.Since(start).Seconds())
	return false, nil
}

// round runs tests with a mutant. An error means that nothing was shown.
func round(binary, pkg string, m mutant.Mutant, args []string) (out []byte, died bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), roundMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"-test.failfast"}, args...)...)
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), "SEXTANT_MUTANT="+string(m))
	out, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, false, nil
	case ctx.Err() != nil:
		return out, false, fmt.Errorf("the tests took longer than %v", roundMax)
	case errors.As(err, &exit) && killed.Match(out):
		return out, true, nil
	}
	return out, false, err
}

var (
	// killed tells a test that failed from a program that could not run.
	killed  = regexp.MustCompile(`(?m)^\s*--- FAIL: |invariant violated|^panic: `)
	failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	where   = regexp.MustCompile(`seed \d+, (crash \d+|world \d+: at .*)`)
)

// killer says in a few words who noticed, and what.
func killer(out []byte) string {
	who := "a panic"
	if all := failure.FindAllSubmatch(out, -1); len(all) > 0 {
		who = string(all[len(all)-1][1])
	}
	if at := where.Find(out); at != nil {
		who += ", " + string(at)
	}
	return who
}
