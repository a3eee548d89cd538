package cli

import (
	"errors"
	"net"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
)

// nameFlag adds to an error that says that an address cannot be listened on
// which of the flags has given it.
func nameFlag(c *cli.Context, err error, flags ...string) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "listen" || op.Addr == nil {
		return err
	}
	for _, f := range flags {
		if !sameAddress(op.Addr, c.String(f)) {
			continue
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return block.Wrap(block.KindOf(err), op.Err, "--%s %s is in use: stop who listens there, or give another --%s", f, c.String(f), f)
		}
		return block.Wrap(block.KindOf(err), op.Err, "cannot listen on --%s %s", f, c.String(f))
	}
	return err
}

// sameAddress tells whether the text of a flag names that address.
func sameAddress(a net.Addr, text string) bool {
	if a.Network() == "unix" {
		return a.String() == text
	}
	t, err := net.ResolveTCPAddr("tcp", text)
	return err == nil && t.String() == a.String()
}
