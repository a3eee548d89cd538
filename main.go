// Command sextant is the one binary of Sextant: its daemons and its admin
// commands.
package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/cli"
	"github.com/sextantdisk/sextant/internal/timerslack"
)

// version is set when the binary is built.
var version = "unknown"

// daemonSlack is how late timers of daemons may be; none of ours minds.
const daemonSlack = time.Millisecond

func main() {
	if len(os.Args) > 1 && slices.Contains(cli.Daemons, os.Args[1]) {
		if err := timerslack.Widen(daemonSlack); err != nil {
			fmt.Fprintln(os.Stderr, "sextant:", err) // slower, but whole
		}
	}
	os.Exit(cli.Main(version, os.Args, os.Stdout, os.Stderr))
}
