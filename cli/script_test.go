package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/cli"
	"github.com/sextantdisk/sextant/integration/cluster"
)

// checked runs the tests and then looks for goroutines left behind.
type checked struct{ m *testing.M }

func (c checked) Run() int {
	status := c.m.Run()
	if status != 0 {
		return status
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestMain makes this test binary be the command sextant in scripts.
func TestMain(m *testing.M) {
	testscript.Main(checked{m}, map[string]func(){
		"sextant": func() { os.Exit(cli.Main("v-test", os.Args, os.Stdout, os.Stderr)) },
	})
}

// scriptTimeout bounds all scripts together.
const scriptTimeout = 5 * time.Minute

// eventualTimeout bounds the command "eventually".
const eventualTimeout = 20 * time.Second

// TestScripts runs testdata/script. Beside the commands of testscript there
// are
//
//	daemon NAME [ARGS...]     start sextant in the background; its ready
//	                          line becomes variables NAME_listen, NAME_http, ...
//	                          Without ARGS: start it once more
//	kill-daemon NAME          as a power cut would
//	stop-daemon NAME          SIGTERM; it must end with status 0
//	status N COMMAND...       run it: its exit status must be exactly N
//	eventually REGEXP COMMAND...  run it until its output matches
//	[!] json PATH [VALUE]     the JSON of the last standard output has VALUE
//	                          at PATH, such as nodes.0.zone, volumes.len (length),
//	                          or, without VALUE, has something there
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(scriptTimeout),
		Setup: func(e *testscript.Env) error {
			binary, err := exec.LookPath("sextant")
			if err != nil {
				return err
			}
			if race := os.Getenv("GORACE"); race != "" {
				e.Setenv("GORACE", race)
			}
			e.Values[daemonsKey{}] = &daemons{binary: binary, dir: e.WorkDir, byName: map[string]*cluster.Daemon{}}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"daemon":      startDaemon,
			"stop-daemon": stopDaemon,
			"kill-daemon": killDaemon,
			"status":      exitStatus,
			"eventually":  eventually,
			"json":        assertJSON,
		},
	})
}

type daemonsKey struct{}

// daemons are those of one script.
type daemons struct {
	binary, dir string
	byName      map[string]*cluster.Daemon
}

func daemonsOf(ts *testscript.TestScript) *daemons { return ts.Value(daemonsKey{}).(*daemons) }

func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: daemon NAME [ARGS...]")
	}
	ds, name := daemonsOf(ts), args[0]
	d := ds.byName[name]
	if d == nil {
		d = cluster.NewDaemon(cluster.Spec{
			Name: name, Binary: ds.binary, LogPath: filepath.Join(ds.dir, name+".log"),
			Args: func(func(string) string) []string { return args[1:] },
			Dir:  ds.dir, Env: given(ts, "SEXTANT_METADATA", "SEXTANT_ZONE"),
		})
		ds.byName[name] = d
		ts.Defer(func() {
			if err := d.Stop(); err != nil {
				ts.Logf("%v", err)
			}
			d.Kill()
		})
	}
	ctx, cancel := contextOf(30 * time.Second)
	defer cancel()
	ts.Check(d.Start(ctx))
	for _, key := range []string{"listen", "raft", "http", "nbd", "socket", "metadata", "node", "volume"} {
		ts.Setenv(name+"_"+key, d.Addr(key))
	}
}

// given are those variables that the script has set.
func given(ts *testscript.TestScript, names ...string) (env []string) {
	for _, name := range names {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func daemonOf(ts *testscript.TestScript, neg bool, args []string) *cluster.Daemon {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop-daemon NAME")
	}
	d := daemonsOf(ts).byName[args[0]]
	if d == nil {
		ts.Fatalf("no daemon is called %s", args[0])
	}
	return d
}

func stopDaemon(ts *testscript.TestScript, neg bool, args []string) {
	d := daemonOf(ts, neg, args)
	if d.Pid() == 0 {
		ts.Fatalf("%s has ended before", d.Name())
	}
	ts.Check(d.Stop())
}

func killDaemon(ts *testscript.TestScript, neg bool, args []string) { daemonOf(ts, neg, args).Kill() }

func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND...")
	}
	want, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(eventualTimeout); ; {
		_ = ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) || want.MatchString(ts.ReadFile("stderr")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no output of %s has matched %s for %v", strings.Join(args[1:], " "), want, eventualTimeout)
		}
		<-time.After(50 * time.Millisecond)
	}
}
