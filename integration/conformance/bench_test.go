package conformance_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

// benchSeconds is how long fio runs for each job and server.
const benchSeconds = "3"

// BenchmarkFio compares our server over a memory disk with nbdkit's memory
// plugin, in turn in one run, over TCP: what it costs to speak NBD, without
// any storage. Run it with -benchtime=1x; -cpuprofile shows where our time
// goes.
func BenchmarkFio(b *testing.B) {
	ours := nbdtest.Serve(b, nbd.Config{Backend: nbdtest.NewBackend(nbd.Export{Name: "mem", Size: block.GiB})})
	theirs := nbdkit(b)
	for _, uri := range []string{theirs, ours.URI("mem")} {
		fio(b, uri, "write", "1m", "8")
	}
	for _, job := range []struct{ name, rw, size, depth string }{
		{"read4k-qd1", "randread", "4k", "1"}, {"write4k-qd1", "randwrite", "4k", "1"},
		{"read4k-qd32", "randread", "4k", "32"}, {"write4k-qd32", "randwrite", "4k", "32"},
		{"read1m-qd8", "randread", "1m", "8"}, {"write1m-qd8", "randwrite", "1m", "8"},
	} {
		b.Run(job.name, func(b *testing.B) {
			for b.Loop() {
				timed := []string{"--time_based", "--runtime=" + benchSeconds, "--ramp_time=0.5"}
				kit := fio(b, theirs, job.rw, job.size, job.depth, timed...)
				own := fio(b, ours.URI("mem"), job.rw, job.size, job.depth, timed...)
				b.ReportMetric(kit, "nbdkit-iops")
				b.ReportMetric(own, "iops")
				b.ReportMetric(own/kit, "ratio")
			}
		})
	}
}

// nbdkit starts a peer and returns its address.
func nbdkit(b *testing.B) string {
	socket := filepath.Join(b.TempDir(), "pid")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	cmd := exec.Command("nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "-P", socket, "memory", "1G")
	if err := cmd.Start(); err != nil {
		b.Fatalf("start nbdkit (of Debian's nbdkit): %v", err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return "nbd://127.0.0.1:" + port + "/"
		}
	}
	b.Fatal("nbdkit does not listen")
	return ""
}

// fio runs one job and returns its requests a second.
func fio(b *testing.B, uri, rw, size, depth string, more ...string) float64 {
	b.Helper()
	args := append([]string{"--name=job", "--ioengine=nbd", "--uri=" + uri, "--rw=" + rw, "--bs=" + size,
		"--iodepth=" + depth, "--size=1G", "--output-format=json"}, more...)
	out, err := exec.Command("fio", args...).Output()
	if err != nil {
		b.Fatalf("fio (of Debian's fio) %q: %v\n%s", args, err, out)
	}
	var result struct {
		Jobs []struct{ Read, Write struct{ IOPS float64 } }
	}
	text := out[max(0, bytes.IndexByte(out, '{')):]
	if err := json.Unmarshal(text, &result); err != nil || len(result.Jobs) != 1 {
		b.Fatalf("fio printed no result (%v): %s", err, out)
	}
	return result.Jobs[0].Read.IOPS + result.Jobs[0].Write.IOPS
}
