package cli

import (
	"log/slog"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
)

// env is the variable of a flag: SEXTANT_PG_SIZE for --pg-size.
func env(name string) []string {
	return []string{"SEXTANT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
}

func stringFlag(name, value, usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage, EnvVars: env(name)}
}

func boolFlag(name, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Usage: usage, EnvVars: env(name)}
}

// daemonFlags are those of every daemon.
func daemonFlags(flags ...cli.Flag) []cli.Flag {
	return append(flags,
		stringFlag("log-level", "info", "debug, info, warn or error"),
		boolFlag("log-json", "log as JSON, one object a line"),
		boolFlag("pprof", "serve /debug/pprof on the --http address"),
		stringFlag("config", "", "TOML file with flags as keys; flags and variables win over it"),
	)
}

// withConfig makes a daemon's action read --config first: each key is a
// flag's name; a key that is no flag is an error.
func withConfig(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return usagef(c, "unexpected argument %q", c.Args().First())
		}
		if err := loadConfig(c); err != nil {
			return err
		}
		for _, f := range c.Command.Flags {
			optional := c.Command.Name == "nbd" && (f.Names()[0] == "zone" || f.Names()[0] == "listen" && listensElsewhere(c))
			if m, ok := f.(*cli.StringFlag); ok && !optional && needed[m.Name] && c.String(m.Name) == "" {
				return usagef(c, "--%s must be given, as a flag, as %s or in the --config file", m.Name, env(m.Name)[0])
			}
		}
		return action(c)
	}
}

// listensElsewhere reports whether a gateway needs no --listen: it has a Unix
// socket, or systemd has passed sockets.
func listensElsewhere(c *cli.Context) bool {
	return c.String("socket") != "" || os.Getenv("LISTEN_FDS") != ""
}

// needed are the flags without which a daemon that has them cannot run.
var needed = map[string]bool{"id": true, "data": true, "listen": true, "zone": true, "metadata": true}

func loadConfig(c *cli.Context) error {
	name := c.String("config")
	if name == "" {
		return nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return block.Wrap(block.NotFound, err, "config file")
	}
	values := map[string]any{}
	if err := toml.Unmarshal(raw, &values); err != nil {
		return block.Wrap(block.Invalid, err, "config file %s", name)
	}
	known := map[string]bool{}
	for _, f := range c.Command.Flags {
		known[f.Names()[0]] = true
	}
	for key, v := range values {
		if !known[key] || key == "config" {
			return block.Errorf(block.Invalid, "config file %s: unknown key %q: keys are the flags of 'sextant %s'", name, key, c.Command.Name)
		}
		text, ok := configText(v)
		if !ok {
			return block.Errorf(block.Invalid, "config file %s: %q must be a string, a number, a boolean or a list of strings", name, key)
		}
		if c.IsSet(key) {
			continue
		}
		if err := c.Set(key, text); err != nil {
			return block.Wrap(block.Invalid, err, "config file %s: %q", name, key)
		}
	}
	return nil
}

// logger makes the logger that the flags ask for; it writes to standard error.
func logger(c *cli.Context) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usagef(c, "--log-level %q is not debug, info, warn or error", c.String("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Bool("log-json") {
		return slog.New(slog.NewJSONHandler(c.App.ErrWriter, opts)), nil
	}
	return slog.New(slog.NewTextHandler(c.App.ErrWriter, opts)), nil
}

// size reads a flag that is a size.
func size(c *cli.Context, name string) (block.ByteCount, error) {
	if c.String(name) == "" {
		return 0, nil
	}
	n, err := block.ParseSize(c.String(name))
	if err != nil {
		return 0, usagef(c, "--%s: %v", name, err)
	}
	return n, nil
}

// requiredSize reads a flag that is a size and must be given.
func requiredSize(c *cli.Context, name string) (block.ByteCount, error) {
	if c.String(name) == "" {
		return 0, usagef(c, "--%s must be given, as a flag or as %s", name, env(name)[0])
	}
	return size(c, name)
}

// addresses reads a flag that is a list of HOST:PORT.
func addresses(c *cli.Context, name string) []string {
	var out []string
	for _, a := range strings.Split(c.String(name), ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}
