package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Config says what to measure.
type Config struct {
	// Sextant is the binary to start daemons from; or URI is a server that
	// runs already and may be overwritten. Neither: nbdkit is measured
	// beside itself, which shows how far apart equal servers come out.
	Sextant, URI string
	// PeerURI is a peer that runs already; default: nbdkit is started.
	PeerURI string
	// Dir gets the data of both sides in a folder that is removed after the
	// run; it should be on a disk, not in memory.
	Dir string
	// Quick takes a quarter of the volume and less time.
	Quick bool
	// Progress is told what goes on.
	Progress io.Writer
}

// scale is how much a run measures.
type scale struct {
	size    block.ByteCount
	runtime time.Duration // of a job, each time
	rounds  int           // how often each job runs on each side
	jobs    []Job
}

var (
	fullScale  = scale{4 * block.GiB, 5 * time.Second, 3, Jobs}
	quickScale = scale{1 * block.GiB, 2 * time.Second, 1, Jobs}
)

// Result is one line of the comparison.
type Result struct {
	Job   string `json:"job"`
	Title string `json:"title"`
	// Ours and Peers are each side's median round.
	Ours  Measure `json:"ours"`
	Peers Measure `json:"peers"`
	// Rounds are the operations a second of all rounds, in their order.
	Rounds struct {
		Ours  []float64 `json:"ours"`
		Peers []float64 `json:"peers"`
	} `json:"rounds_iops"`
	// Against is the peer's job that Ratio is of.
	Against string  `json:"against"`
	Ratio   float64 `json:"ratio"`
	Floor   float64 `json:"floor,omitempty"`
}

// Run is a whole comparison.
type Run struct {
	Time    time.Time       `json:"time"`
	Machine Machine         `json:"machine"`
	Ours    string          `json:"ours"`
	Peer    string          `json:"peer"`
	Quick   bool            `json:"quick"`
	Size    block.ByteCount `json:"volume_bytes"`
	Seconds float64         `json:"seconds_per_round"`
	Rounds  int             `json:"rounds"`
	Results []Result        `json:"results"`
}

// Compare runs all jobs on both sides. Error kinds: those of what it starts;
// Unavailable if an operation failed.
func Compare(ctx context.Context, c Config) (Run, error) {
	if c.Quick {
		return compareAt(ctx, c, quickScale)
	}
	return compareAt(ctx, c, fullScale)
}

func compareAt(ctx context.Context, c Config, sc scale) (run Run, err error) {
	if c.Sextant != "" && c.URI != "" {
		return Run{}, block.Errorf(block.Invalid, "give a binary to start or the URI of a server, not both")
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return Run{}, block.Wrap(block.Unavailable, err, "making the folder for data")
	}
	dir, err := os.MkdirTemp(c.Dir, "bench-")
	if err != nil {
		return Run{}, block.Wrap(block.Unavailable, err, "making the folder for data")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return Run{}, block.Wrap(block.Unavailable, err, "the folder for data")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	sides, err := startSides(ctx, c, dir, sc.size)
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.stop())
		}
	}()
	if err != nil {
		return Run{}, err
	}
	run = Run{Time: time.Now().UTC(), Machine: describeMachine(), Ours: sides[0].name, Peer: sides[1].name,
		Quick: c.Quick, Size: sc.size, Seconds: sc.runtime.Seconds(), Rounds: sc.rounds}
	run.Results, err = measureAll(ctx, c, sides, sc)
	return run, err
}

// startSides gives ours, then the peer; with an error, what was started.
func startSides(ctx context.Context, c Config, dir string, size block.ByteCount) ([]side, error) {
	var sides []side
	add := func(s side, err error) error {
		if err == nil {
			sides = append(sides, s)
		}
		return err
	}
	var err error
	switch {
	case c.URI != "":
		err = add(givenSide(c.URI, c.URI), nil)
	case c.Sextant != "":
		err = add(sextantSide(ctx, c.Sextant, dir, size))
	default:
		err = add(nbdkitSide(ctx, "nbdkit-too", dir, size))
	}
	switch {
	case err != nil:
	case c.PeerURI != "":
		err = add(givenSide(c.PeerURI, c.PeerURI), nil)
	default:
		err = add(nbdkitSide(ctx, "nbdkit", dir, size))
	}
	return sides, err
}

// rounds are what the rounds of each job gave on one side.
type rounds map[string][]Measure

// median is the round with the middle number of operations; of an even number
// the lower one.
func (r rounds) median(job string) Measure {
	all := slices.SortedFunc(slices.Values(r[job]), func(a, b Measure) int { return cmp.Compare(a.ops(), b.ops()) })
	if len(all) == 0 {
		return Measure{}
	}
	return all[(len(all)-1)/2]
}

func (r rounds) ops(job string) (ops []float64) {
	for _, m := range r[job] {
		ops = append(ops, m.ops())
	}
	return ops
}

// measureAll runs each job on both sides in turn, several times over.
func measureAll(ctx context.Context, c Config, sides []side, sc scale) ([]Result, error) {
	for _, s := range sides {
		fmt.Fprintf(c.Progress, "prefill of %v: %s\n", sc.size, s.name)
		if _, err := runFio(ctx, prefill, s.uri, sc.size, 0); err != nil {
			return nil, err
		}
	}
	got := make([]rounds, len(sides))
	for i := range got {
		got[i] = rounds{}
	}
	for n, j := range sc.jobs {
		for k := range sc.rounds * len(sides) {
			i := (n + k/len(sides) + k) % len(sides) // the other one begins the next round
			size, err := prepare(ctx, j, sides[i], sc.size)
			if err != nil {
				return nil, err
			}
			m, err := runFio(ctx, j, sides[i].uri, size, sc.runtime)
			if err != nil {
				return nil, err
			}
			got[i][j.Name] = append(got[i][j.Name], m)
			fmt.Fprintf(c.Progress, "%s: %s: %.0f a second\n", j.Title, sides[i].name, m.ops())
		}
	}
	return compare(sc.jobs, got[0], got[1]), nil
}

// compare makes lines of what was measured.
func compare(jobs []Job, ours, peers rounds) []Result {
	var results []Result
	for _, j := range jobs {
		r := Result{Job: j.Name, Title: j.Title, Ours: ours.median(j.Name), Peers: peers.median(j.Name), Against: j.Against, Floor: j.Floor}
		r.Rounds.Ours, r.Rounds.Peers = ours.ops(j.Name), peers.ops(j.Name)
		if against := peers.median(j.Against).ops(); against > 0 {
			r.Ratio = r.Ours.ops() / against
		}
		results = append(results, r)
	}
	return results
}
