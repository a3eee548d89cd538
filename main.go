// Command sextant is the one binary of Sextant: its daemons and its admin
// commands.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/sextantdisk/sextant/cli"
	"github.com/sextantdisk/sextant/internal/timerslack"
)

// version is set when the binary is built.
var version = "unknown"

// slack is how late the Go runtime's monitor may be in each daemon, which hands
// processors of threads that are in a system call to others. A gateway's threads
// rarely are for long.
var slack = map[string]time.Duration{
	"dev": time.Millisecond, "nbd": time.Millisecond, "metadata": time.Millisecond, "segment": 5 * time.Millisecond,
}

func main() {
	if len(os.Args) > 1 {
		if err := timerslack.Widen(slack[os.Args[1]]); err != nil {
			fmt.Fprintln(os.Stderr, "sextant:", err) // slower, but whole
		}
	}
	os.Exit(cli.Main(version, os.Args, os.Stdout, os.Stderr))
}
