package conformance_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/integration/conformance"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The server of package nbd, over a memory disk.
func serve(t *testing.T) *nbdtest.Running {
	return nbdtest.Serve(t, nbd.Config{Backend: nbdtest.NewBackend(
		nbd.Export{Name: "disk", Description: "a memory disk", Size: 5 * block.GiB},
		nbd.Export{Name: "other", Size: 1 * block.MiB, ReadOnly: true},
	)})
}

func TestSuite(t *testing.T) {
	s := serve(t)
	conformance.Run(t, s.URI("disk"), s.Socket)
	// The server sees at its next write that a client has gone.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); s.Server.Stats().InFlight != 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%v are still lent", s.Server.Stats().InFlight)
		}
	}
}

func TestTools(t *testing.T) {
	s := nbdtest.Serve(t, nbd.Config{Backend: nbdtest.NewBackend(nbd.Export{Name: "disk", Size: 128 * block.MiB})})
	conformance.Tools(t, s.URI("disk"))
}
