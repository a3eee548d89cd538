// Command memserver serves a memory disk over NBD, for trials and
// measurements by hand. It is not shipped.
//
// Invariants: none beyond those of nbdtest. Goroutines: the server's.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "memserver:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("listen", "127.0.0.1:10899", "address for TCP")
	socket := flag.String("socket", "", "path of a Unix socket as well")
	size := flag.String("size", "1GiB", "size of the export mem")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file at the end")
	flag.Parse()
	n, err := block.ParseSize(*size)
	if err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	s, err := nbd.NewServer(nbd.Config{Backend: nbdtest.NewBackend(nbd.Export{Name: "mem", Size: n})})
	if err != nil {
		return err
	}
	if err := listen(s, *addr, *socket); err != nil {
		return err
	}
	fmt.Println("ready")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return s.Close()
}

func listen(s *nbd.Server, addr, socket string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go s.Serve(l)
	if socket == "" {
		return nil
	}
	if l, err = net.Listen("unix", socket); err != nil {
		return err
	}
	go s.Serve(l)
	return nil
}
