package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// readyTimeout is how long a daemon may take to say that it serves.
	readyTimeout = 30 * time.Second
	// stopTimeout is how long a daemon may take to end after SIGTERM.
	stopTimeout = 15 * time.Second
	// maxOutputLine bounds a line of standard output; longer ones end the
	// copying of output, not the daemon.
	maxOutputLine = 1 << 20
)

// AnyPort is where a daemon is told to listen at its first start if no port of
// those that are kept for that is free.
const AnyPort = "127.0.0.1:0"

// Spec is how to start a daemon.
type Spec struct {
	// Name is the name of its log and of its messages, such as "segment-3".
	Name string
	// Binary is the path of the program.
	Binary string
	// Args makes the arguments. at gives the address that the daemon had
	// under a key of its ready line the last time, a free one before that.
	Args func(at func(key string) string) []string
	// Env is added to the environment.
	Env []string
	// Dir is the folder that it runs in; empty: that of this process.
	Dir string
	// Machine is where it runs.
	Machine Machine
	// LogPath is the file that its output is appended to.
	LogPath string
}

// Daemon is a process that is started, ended and started again with the same
// arguments, data folder and addresses.
type Daemon struct {
	spec Spec

	mu struct {
		sync.Mutex
		// run is the process of the last start, nil before the first one.
		run *run
		// ready is the last ready line.
		ready Ready
	}
}

// run is one life of a daemon.
type run struct {
	pid int
	// exited is closed when the process has been waited for; err and
	// status are set before.
	exited chan struct{}
	err    error

	mu struct {
		sync.Mutex
		// waited: the pid may belong to somebody else now.
		waited bool
		// asked: Kill or Stop was called, so an end is no surprise.
		asked bool
	}
}

// NewDaemon makes a daemon that is not yet running.
func NewDaemon(spec Spec) *Daemon { return &Daemon{spec: spec} }

// Name is the daemon's name.
func (d *Daemon) Name() string { return d.spec.Name }

// Addr is the address that the daemon gave under key in its last ready line,
// or "" if it gave none.
func (d *Daemon) Addr(key string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.ready[key]
}

// Pid is the process id of the running daemon, or 0.
func (d *Daemon) Pid() int {
	if r := d.current(); r != nil && r.alive() {
		return r.pid
	}
	return 0
}

// Start starts the daemon and waits until it says that it serves. If it does
// not within readyTimeout or ctx, or ends before, the error holds the end of
// its log and nothing is left running. Error kinds: Invalid (it runs
// already, or its ready line is malformed), Unavailable.
func (d *Daemon) Start(ctx context.Context) error {
	if old := d.current(); old != nil && old.alive() {
		return block.Errorf(block.Invalid, "%s is running already, pid %d", d.spec.Name, old.pid)
	}
	log, err := os.OpenFile(d.spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return block.Wrap(block.Unavailable, err, "opening the log of %s", d.spec.Name)
	}
	r, lines, err := d.fork(log)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	d.mu.Lock()
	d.mu.run = r
	d.mu.Unlock()

	ready := make(chan readyResult, 1)
	go copyOutput(lines, log, ready)

	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	var why string
	select {
	case got := <-ready:
		if got.err == nil && got.ready != nil {
			d.mu.Lock()
			d.mu.ready = got.ready
			d.mu.Unlock()
			return nil
		}
		why = "its output ended before it said ready"
		if got.err != nil {
			why = got.err.Error()
		}
	case <-timer.C:
		why = fmt.Sprintf("it did not say ready within %v", readyTimeout)
	case <-ctx.Done():
		why = ctx.Err().Error()
	}
	r.end(syscall.SIGKILL)
	<-r.exited
	return block.Errorf(block.Unavailable, "%s did not start: %s\n%s", d.spec.Name, why, Tail(d.spec.LogPath, tailLines))
}

// Kill ends the daemon with SIGKILL and waits for that. One that has ended
// before is left as it is.
func (d *Daemon) Kill() {
	if r := d.current(); r != nil {
		r.end(syscall.SIGKILL)
		<-r.exited
	}
}

// Stop ends the daemon with SIGTERM if it runs, and is an error unless it
// ends with status 0 within stopTimeout; after that it is killed. Error
// kinds: Unavailable.
func (d *Daemon) Stop() error {
	r := d.current()
	if r == nil || !r.alive() {
		return nil
	}
	r.end(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-r.exited:
		if r.err != nil {
			return block.Wrap(block.Unavailable, r.err, "%s did not end cleanly", d.spec.Name)
		}
		return nil
	case <-timer.C:
		r.end(syscall.SIGKILL)
		<-r.exited
		return block.Errorf(block.Unavailable, "%s did not end within %v of SIGTERM, it was killed\n%s", d.spec.Name, stopTimeout, Tail(d.spec.LogPath, tailLines))
	}
}

// Restart kills the daemon if it runs, and starts it where it listened.
func (d *Daemon) Restart(ctx context.Context) error {
	d.Kill()
	return d.Start(ctx)
}

// Pause stops the daemon in its tracks (SIGSTOP): its connections stay and
// answer nothing, as those of a machine that hangs. When Pause returns, no
// thread of it runs any more.
func (d *Daemon) Pause() error {
	r := d.current()
	if err := d.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	waitStopped(r.pid)
	return nil
}

// Resume lets a paused daemon go on (SIGCONT).
func (d *Daemon) Resume() error { return d.signal(syscall.SIGCONT) }

// Exited is closed when the daemon's current process has ended. It panics
// if the daemon was never started.
func (d *Daemon) Exited() <-chan struct{} { return d.current().exited }

// finish stops the daemon if it runs, and tells what is wrong with how it
// ends or has ended.
func (d *Daemon) finish() error {
	if s := d.surprise(); s != "" {
		return block.Errorf(block.Unavailable, "%s: %s", d.spec.Name, s)
	}
	if r := d.current(); r != nil {
		// One that a test left paused would not see SIGTERM.
		r.signal(syscall.SIGCONT)
	}
	return d.Stop()
}

// surprise tells how the daemon ended if nobody asked it to, or "".
func (d *Daemon) surprise() string {
	r := d.current()
	if r == nil || r.alive() {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.asked {
		return ""
	}
	if r.err == nil {
		return "it ended by itself with status 0"
	}
	return "it ended by itself: " + r.err.Error()
}

func (d *Daemon) signal(s syscall.Signal) error {
	r := d.current()
	if r == nil || !r.signal(s) {
		return block.Errorf(block.Invalid, "%s is not running, so it cannot be sent %v", d.spec.Name, s)
	}
	return nil
}

func (d *Daemon) current() *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.run
}

// address is what Spec.Args asks for: the last address, or a free one.
func (d *Daemon) address(key string) string {
	if a := d.Addr(key); a != "" {
		return a
	}
	return d.spec.Machine.anyPort()
}

// fork starts the process. Its standard error goes into log, its standard
// output can be read from the pipe returned.
func (d *Daemon) fork(log *os.File) (*run, io.ReadCloser, error) {
	cmd := exec.Command(d.spec.Binary, d.spec.Args(d.address)...)
	cmd.Env = append(os.Environ(), d.spec.Env...)
	cmd.Dir = d.spec.Dir
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, block.Wrap(block.Unavailable, err, "making a pipe for %s", d.spec.Name)
	}
	cmd.Stdout = in

	r := &run{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is tied to this thread: it must live as long as the
		// daemon. A goroutine that ends locked takes its thread along.
		runtime.LockOSThread()
		err := d.spec.Machine.start(cmd)
		in.Close()
		if err != nil {
			started <- err
			return
		}
		r.pid = cmd.Process.Pid
		started <- nil
		r.wait(cmd)
	}()
	if err := <-started; err != nil {
		out.Close()
		return nil, nil, block.Wrap(block.Unavailable, err, "starting %s", d.spec.Name)
	}
	return r, out, nil
}

// wait reaps the process. It is seen to be dead before its pid is given
// free, so that a signal never reaches another process.
func (r *run) wait(cmd *exec.Cmd) {
	waitDead(r.pid)
	r.mu.Lock()
	r.mu.waited = true
	r.err = cmd.Wait()
	r.mu.Unlock()
	close(r.exited)
}

// end sends a signal that is meant to end the process.
func (r *run) end(s syscall.Signal) {
	r.mu.Lock()
	r.mu.asked = true
	r.mu.Unlock()
	r.signal(s)
}

// signal tells whether there still was a process to send it to.
func (r *run) signal(s syscall.Signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.mu.waited && syscall.Kill(r.pid, s) == nil
}

func (r *run) alive() bool {
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

type readyResult struct {
	ready Ready
	err   error
}

// copyOutput copies a daemon's standard output into its log until it ends,
// and tells of the first ready line, or of the end without one.
func copyOutput(out io.ReadCloser, log *os.File, ready chan<- readyResult) {
	defer log.Close()
	defer out.Close()
	told := false
	tell := func(r readyResult) {
		if !told {
			told = true
			ready <- r
		}
	}
	scan := bufio.NewScanner(out)
	scan.Buffer(nil, maxOutputLine)
	for scan.Scan() {
		line := scan.Text()
		if _, err := fmt.Fprintln(log, line); err != nil {
			tell(readyResult{err: err})
		}
		if r, ok, err := ParseReady(line); ok {
			tell(readyResult{ready: r, err: err})
		}
	}
	tell(readyResult{err: scan.Err()})
}
