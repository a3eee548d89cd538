package sim

import (
	"flag"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "run this one seed and print its trace")
	runsFlag = flag.Int("runs", 60, "how many seeds to run")
)

// TestProtocol runs seeds and prints the command that repeats a failure.
func TestProtocol(t *testing.T) {
	if *seedFlag != 0 {
		w := New(*seedFlag, true)
		err := w.Run(20 * time.Second)
		for _, line := range w.Trace() {
			t.Log(line)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	events, acks, reads, opens := 0, 0, 0, 0
	for seed := uint64(1); seed <= uint64(*runsFlag); seed++ {
		w := New(seed, false)
		if err := w.Run(20 * time.Second); err != nil {
			t.Fatalf("seed %d: %v\nfaults %+v\nrepeat: go test ./integration/sim -run TestProtocol -v -seed %d", seed, err, w.faults, seed)
		}
		events += w.Events
		acks += w.oracle.Acks
		reads += w.oracle.Reads
		opens += w.oracle.Opens
	}
	t.Logf("%d seeds: %d events, %d acknowledged writes, %d reads, %d openings", *runsFlag, events, acks, reads, opens)
	if acks < 100*(*runsFlag) || reads < 100*(*runsFlag) || opens < *runsFlag {
		t.Errorf("too little happened: %d acks, %d reads, %d openings", acks, reads, opens)
	}
}
