package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
)

// Main runs the command line and gives the exit status.
func Main(version string, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp(version, stdout, stderr)
	if asked, possible := completing(args); asked && !possible {
		return 0
	} else if !asked {
		args = permute(app, args)
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "sextant: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "hint: see 'sextant %s--help'\n", usage.command)
		return 2
	}
	return 1
}

// usageError is a mistake in the command line: exit status 2.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(c *cli.Context, format string, args ...any) error {
	return usageError{commandPath(c), block.Errorf(block.Invalid, format, args...)}
}

// commandPath is "volume create " for that command, for hints.
func commandPath(c *cli.Context) string {
	if c == nil || c.Command == nil {
		return ""
	}
	path := strings.TrimSpace(strings.TrimPrefix(c.Command.HelpName, "sextant"))
	if path == "" {
		return ""
	}
	return path + " "
}

func newApp(version string, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                 "sextant",
		Usage:                "a network block device whose every write is on four of six disks",
		Version:              version,
		HideVersion:          true,
		Writer:               stdout,
		ErrWriter:            stderr,
		EnableBashCompletion: true,
		Suggest:              true,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         onUsageError,
		CommandNotFound:      nil,
		Action:               unknownCommand,
		Commands: []*cli.Command{
			devCommand(), metadataCommand(), segmentCommand(), nbdCommand(),
			volumeCommand(), nodeCommand(), pgCommand(), statusCommand(),
			inspectCommand(), completionCommand(),
			{Name: "version", Usage: "print the version", Action: func(c *cli.Context) error {
				fmt.Fprintln(c.App.Writer, "sextant", version)
				return nil
			}},
		},
	}
	prepare(app.Commands)
	return app
}

// prepare gives every command the error handling of the whole.
func prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = onUsageError
		if len(c.Subcommands) > 0 && c.Action == nil {
			c.Action = unknownCommand
		}
		prepare(c.Subcommands)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return usageError{commandPath(c), err}
}

// unknownCommand answers a command group without a command, or with one that
// does not exist.
func unknownCommand(c *cli.Context) error {
	if c.Args().Present() {
		return usagef(c, "unknown command %q", c.Args().First())
	}
	_ = cli.ShowSubcommandHelp(c)
	return usagef(c, "a command is missing")
}

// permute moves flags before arguments within the innermost command: urfave
// cli v2 stops looking for flags at the first argument.
func permute(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	out, rest := []string{args[0]}, args[1:]
	commands, flags := app.Commands, map[string]cli.Flag{}
	for len(rest) > 0 {
		c := find(commands, rest[0])
		if c == nil {
			break
		}
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				flags[n] = f
			}
		}
		out, rest, commands = append(out, rest[0]), rest[1:], c.Subcommands
	}
	var named, plain []string
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		if a == "--" {
			plain = append(plain, rest[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			plain = append(plain, a)
			continue
		}
		named = append(named, a)
		name := strings.TrimLeft(a, "-")
		if _, isBool := flags[name].(*cli.BoolFlag); flags[name] == nil || isBool {
			continue
		}
		if i++; i == len(rest) {
			return append(out, a) // a flag that lacks its value, and says so when nothing follows it
		}
		named = append(named, rest[i])
	}
	out = append(out, named...)
	if len(plain) > 0 {
		out = append(append(out, "--"), plain...)
	}
	return out
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}
