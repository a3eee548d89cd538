package segmentd

import (
	"fmt"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// R20: daemons that do not answer hold up no question to others.
func TestR20HungPeersHoldUpNobody(t *testing.T) {
	g := &gossiper{s: copyOn(t, memfs.New(0), 1).Server}
	doors := map[door][]question{}
	for i := range gossipDoors {
		doors[door{node: block.NodeID(fmt.Sprint(i))}] = []question{{}}
	}
	asked, all := make(chan struct{}, gossipDoors), make(chan struct{})
	go func() {
		for range gossipDoors {
			<-asked
		}
		close(all)
	}()
	g.askAll(doors, func(d door, _ []question) error {
		asked <- struct{}{}
		select {
		case <-all: // hangs as long as somebody is to be asked
		case <-t.Context().Done():
		case <-time.After(10 * time.Second):
			t.Errorf("peer %s hangs, and others are not asked", d.node)
			g.s.cancel(block.Closed) // the rest is not asked
		}
		return nil
	})
}
