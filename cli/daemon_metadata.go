package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/raftnode"
)

func metadataCommand() *cli.Command {
	return &cli.Command{
		Name:  "metadata",
		Usage: "run a member of the metadata service (1, 3 or 5 of them)",
		Flags: daemonFlags(
			stringFlag("id", "", "name of this member"),
			stringFlag("data", "", "data folder"),
			stringFlag("listen", "", "HOST:PORT of the API"),
			stringFlag("raft", "", "HOST:PORT for the other members (default: the API's host, any port)"),
			stringFlag("advertise", "", "host under which others reach this member (default: the API's host)"),
			boolFlag("bootstrap", "make a new cluster if the data folder is empty"),
			stringFlag("join", "", "HOST:PORT[,...] of members to join if the data folder is empty"),
			stringFlag("http", "", "HOST:PORT of /metrics, /healthz and /readyz"),
		),
		Action: withConfig(runMetadata),
	}
}

func runMetadata(c *cli.Context) error {
	d, err := newDaemon(c)
	if err != nil {
		return err
	}
	defer d.close()
	n, err := raftnode.Start(c.Context, raftnode.Config{
		ID: metadata.MemberID(c.String("id")), Dir: c.String("data"), Listen: c.String("listen"),
		RaftListen: c.String("raft"), Advertise: c.String("advertise"),
		Bootstrap: c.Bool("bootstrap"), Join: addresses(c, "join"), Logger: d.log,
	})
	if err != nil {
		return nameFlag(c, err, "listen", "raft")
	}
	defer n.Close()
	d.wellIf(n.Err)
	metadataMetrics(d.metrics, n)
	if err := n.AwaitReady(c.Context); err != nil {
		return err
	}
	d.announce("listen", n.Addr(), "raft", n.RaftAddr())
	return d.until(c.Context, n.Failed(), n.Err)
}
