// Command sextant is the one binary of Sextant: its daemons and its admin
// commands.
package main

import (
	"os"

	"github.com/sextantdisk/sextant/cli"
)

// version is set when the binary is built.
var version = "unknown"

func main() { os.Exit(cli.Main(version, os.Args, os.Stdout, os.Stderr)) }
