package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// baseCPU has no AVX: the guest would use it for copies and checksums,
	// and it is emulated more slowly than plain code.
	baseCPU       = "qemu64"
	defaultMemory = 1 * block.GiB
	defaultCPUs   = 1
	// maxConsole bounds what is kept of the console.
	maxConsole = 4 << 20
	// tailLines is how much of the console an error shows.
	tailLines = 60
)

// Options say what to run. Script is needed.
type Options struct {
	// Script is run by busybox's shell with -eu in the guest; its status is
	// that of the Run.
	Script string
	// Memory (default 1 GiB) and CPUs (default 1) of the guest. Emulated
	// CPUs beyond the first cost more than they do, but the kernel's block
	// layer uses no more connections of a device than there are CPUs.
	Memory block.ByteCount
	CPUs   int
	// OnLine, if set, is given each line of the console as it comes.
	OnLine func(line string)
}

// Output is what a guest has said.
type Output struct {
	// Console is all of it.
	Console string
	// Values are from the lines "@@ key value"; "booted" and "status" are
	// always there after a Run without error.
	Values map[string]string
	// Took is the time from power on to power off.
	Took time.Duration
}

// GuestAddr is what a loopback address of the host is called in the guest.
// Error kind: Invalid, for any other address.
func GuestAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", block.Wrap(block.Invalid, err, "address %q", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", block.Errorf(block.Invalid, "address %q is not on loopback, which is all that a guest can reach", addr)
	}
	return net.JoinHostPort(hostInGuest, port), nil
}

// Run boots a guest, runs the script in it and returns when it has powered
// off, or after killing it when ctx ends. Error kinds: NotFound (gear lacks),
// Unavailable (it did not boot, or not to the end), Invalid (the script
// failed). The Output is as far as it came, also with an error.
func Run(ctx context.Context, o Options) (Output, error) {
	cache, err := cacheDir()
	if err != nil {
		return Output{}, err
	}
	k, err := findKernel(cache)
	if err != nil {
		return Output{}, err
	}
	im, err := plan(k)
	if err != nil {
		return Output{}, err
	}
	base, err := im.initramfs(cache)
	if err != nil {
		return Output{}, err
	}
	initrd, err := withScript(base, o.Script)
	if err != nil {
		return Output{}, err
	}
	defer os.RemoveAll(filepath.Dir(initrd))
	return boot(ctx, k, initrd, o)
}

// withScript makes the initramfs of one run: the cached one with an archive
// behind it that holds the script.
func withScript(base, script string) (string, error) {
	in, err := os.Open(base)
	if err != nil {
		return "", block.Wrap(block.NotFound, err, "the initramfs")
	}
	defer in.Close()
	dir, err := os.MkdirTemp("", "sextant-vm-")
	if err != nil {
		return "", block.Wrap(block.Unavailable, err, "a folder for the guest")
	}
	file := filepath.Join(dir, "initrd")
	err = writeNew(file, func(w io.Writer) error {
		if _, err := io.Copy(w, in); err != nil {
			return block.Wrap(block.Unavailable, err, "copying the initramfs")
		}
		c := &cpioWriter{w: w}
		c.file("job/script", []byte(script))
		return c.close()
	})
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return file, nil
}

func arguments(k kernel, initrd string, o Options) []string {
	memory, cpus := o.Memory, o.CPUs
	if memory == 0 {
		memory = defaultMemory
	}
	if cpus == 0 {
		cpus = defaultCPUs
	}
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", baseCPU, "-smp", fmt.Sprint(cpus), "-m", fmt.Sprintf("%dM", memory/block.MiB),
		"-serial", "stdio",
		// File 3 is the first of ExtraFiles.
		"-netdev", "stream,id=net0,server=off,addr.type=fd,addr.str=3", "-device", "virtio-net-pci,netdev=net0,romfile=",
		"-kernel", k.image, "-initrd", initrd,
		"-append", "console=ttyS0 panic=-1 quiet mitigations=off nokaslr random.trust_cpu=on",
	}
}

// boot runs the emulator until the guest powers off.
func boot(ctx context.Context, k kernel, initrd string, o Options) (Output, error) {
	// The parent-death signal is sent when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	emulator, err := find("qemu-system-x86_64")
	if err != nil {
		return Output{}, err
	}
	wire, err := startNetwork(ctx)
	if err != nil {
		return Output{}, err
	}
	defer wire.stop()
	cmd := exec.CommandContext(ctx, emulator, arguments(k, initrd, o)...)
	cmd.ExtraFiles = []*os.File{wire.guest}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		return Output{}, block.Wrap(block.Unavailable, err, "the guest's console")
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Output{}, block.Wrap(block.Unavailable, err, "starting the emulator")
	}
	wire.guest.Close()
	out := readConsole(console, o.OnLine)
	err = cmd.Wait()
	out.Took = time.Since(start)
	switch status := out.Values["status"]; {
	case ctx.Err() != nil:
		return out, block.Wrap(block.Unavailable, ctx.Err(), "the guest had to be ended\n%s", out.tail())
	case err != nil:
		return out, block.Wrap(block.Unavailable, err, "the emulator: %s%s\n%s", &stderr, &wire.stderr, out.tail())
	case status == "":
		return out, block.Errorf(block.Unavailable, "the guest ended without telling its status\n%s", out.tail())
	case status != "0":
		return out, block.Errorf(block.Invalid, "the script in the guest ended with status %s\n%s", status, out.tail())
	}
	return out, nil
}

// readConsole reads until the console is closed.
func readConsole(r io.Reader, onLine func(string)) Output {
	out := Output{Values: map[string]string{}}
	var kept strings.Builder
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if line != "" && kept.Len() < maxConsole {
			kept.WriteString(line + "\n")
		}
		if rest, ok := strings.CutPrefix(line, "@@ "); ok {
			key, value, _ := strings.Cut(rest, " ")
			out.Values[key] = value
		}
		if onLine != nil && line != "" {
			onLine(line)
		}
		if err != nil {
			out.Console = kept.String()
			return out
		}
	}
}

// tail is the end of the console, indented.
func (o Output) tail() string {
	lines := strings.Split(strings.TrimRight(o.Console, "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "  " + strings.Join(lines, "\n  ")
}
