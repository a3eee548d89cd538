// Command cmd is what make bench runs: it measures Sextant beside nbdkit,
// prints the table and keeps the figures. Exit status 1 if that failed or,
// with --floors, if a ratio is below its floor.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sextantdisk/sextant/integration/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c := bench.Config{Progress: os.Stderr}
	flag.StringVar(&c.Sextant, "sextant", "", "the `binary` to start the daemons from")
	flag.StringVar(&c.URI, "uri", "", "the NBD `URI` of a server to measure instead; its volume is overwritten")
	flag.StringVar(&c.PeerURI, "peer-uri", "", "the NBD `URI` of a peer to measure it beside; its volume is overwritten (default: nbdkit is started)")
	flag.StringVar(&c.Dir, "dir", ".cache/bench", "the `folder`, on a disk, for the data of both")
	flag.BoolVar(&c.Quick, "quick", false, "1 GiB and 2 s a job instead of 4 GiB and 3 rounds of 5 s")
	floors := flag.Bool("floors", false, "fail if a ratio is below its floor")
	out := flag.String("out", "bench/results", "the `folder` for the results")
	name := flag.String("name", "", "the `name` of the results (default: quick or full)")
	flag.Parse()

	result, err := bench.Compare(ctx, c)
	if err != nil {
		return err
	}
	if err := result.WriteTable(os.Stdout); err != nil {
		return err
	}
	if *name == "" {
		*name = "full"
		if c.Quick {
			*name = "quick"
		}
	}
	file, err := result.WriteJSON(*out, *name)
	if err != nil {
		return err
	}
	fmt.Println("results in", file)
	if missed := result.Missed(); *floors && len(missed) > 0 {
		return fmt.Errorf("below the floor: %s", strings.Join(missed, ", "))
	}
	return nil
}
