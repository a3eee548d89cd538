package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Figures of one direction of one job.
type Figures struct {
	Ops         float64 `json:"iops"`
	BytesSecond float64 `json:"bytes_per_second"`
	// P50 and P99 are latencies in microseconds. With a flush after each
	// write they are the sums of those of the write and of the flush.
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
}

// Measure is what a job gave on one side.
type Measure struct {
	Read  *Figures `json:"read,omitempty"`
	Write *Figures `json:"write,omitempty"`
	// CPU is the time that the whole machine, fio included, was busy for
	// each operation, in microseconds.
	CPU float64 `json:"cpu_us_per_op"`
}

// ops are the operations of both directions, each second.
func (m Measure) ops() (sum float64) {
	for _, f := range []*Figures{m.Read, m.Write} {
		if f != nil {
			sum += f.Ops
		}
	}
	return sum
}

// fioArgs is fio's command line. Without a runtime the job goes over the
// whole volume once.
func fioArgs(j Job, uri string, size block.ByteCount, runtime time.Duration) []string {
	args := []string{
		"--name=" + j.Name, "--ioengine=nbd", "--uri=" + uri, "--rw=" + j.Pattern,
		fmt.Sprintf("--bs=%d", j.BlockSize), fmt.Sprintf("--iodepth=%d", j.Depth), fmt.Sprintf("--size=%d", size),
		"--output-format=json", "--norandommap",
		"--lat_percentiles=1", "--clat_percentiles=0", "--percentile_list=50:99",
	}
	if j.ReadPercent > 0 {
		args = append(args, fmt.Sprintf("--rwmixread=%d", j.ReadPercent))
	}
	if j.FlushEach {
		args = append(args, "--fsync=1")
	}
	if runtime > 0 {
		args = append(args, "--time_based", fmt.Sprintf("--runtime=%dms", runtime.Milliseconds()))
	}
	return args
}

// runFio runs one job and gives its measure. Error kinds: NotFound (no fio),
// Unavailable (fio or an operation failed).
func runFio(ctx context.Context, j Job, uri string, size block.ByteCount, runtime time.Duration) (Measure, error) {
	before, err := readCPU()
	if err != nil {
		return Measure{}, err
	}
	cmd := exec.CommandContext(ctx, "fio", fioArgs(j, uri, size, runtime)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Measure{}, block.Wrap(block.Unavailable, err, "fio %s on %s: %s%s", j.Name, uri, &stderr, tail(out))
	}
	after, err := readCPU()
	if err != nil {
		return Measure{}, err
	}
	m, total, err := parseFio(out, j)
	if err != nil {
		return Measure{}, err
	}
	if total > 0 {
		m.CPU = float64((after - before).Microseconds()) / total
	}
	return m, nil
}

// fioOutput is the part of fio's JSON that is read.
type fioOutput struct {
	Jobs []struct {
		Error int          `json:"error"`
		Read  fioDirection `json:"read"`
		Write fioDirection `json:"write"`
		Sync  struct {
			Latency fioLatency `json:"lat_ns"`
		} `json:"sync"`
	} `json:"jobs"`
}

type fioDirection struct {
	Total   float64    `json:"total_ios"`
	Ops     float64    `json:"iops"`
	Bytes   float64    `json:"bw_bytes"`
	Latency fioLatency `json:"lat_ns"`
}

type fioLatency struct {
	Percentile map[string]float64 `json:"percentile"`
}

func (l fioLatency) us(percentile string) float64 { return l.Percentile[percentile] / 1e3 }

// parseFio reads fio's JSON, which notes may stand before, and gives the
// measure and the number of operations.
func parseFio(out []byte, j Job) (m Measure, total float64, err error) {
	i := bytes.IndexByte(out, '{')
	if i < 0 {
		return m, 0, block.Errorf(block.Unavailable, "fio %s gave no JSON: %s", j.Name, tail(out))
	}
	var o fioOutput
	if err := json.Unmarshal(out[i:], &o); err != nil {
		return m, 0, block.Wrap(block.Unavailable, err, "reading fio's JSON of %s", j.Name)
	}
	if len(o.Jobs) != 1 || o.Jobs[0].Error != 0 {
		return m, 0, block.Errorf(block.Unavailable, "fio %s: %d jobs, or an error in one: %s", j.Name, len(o.Jobs), tail(out))
	}
	job := o.Jobs[0]
	figures := func(d fioDirection) *Figures {
		if d.Total == 0 {
			return nil
		}
		f := &Figures{Ops: d.Ops, BytesSecond: d.Bytes, P50: d.Latency.us("50.000000"), P99: d.Latency.us("99.000000")}
		if j.FlushEach {
			f.P50 += job.Sync.Latency.us("50.000000")
			f.P99 += job.Sync.Latency.us("99.000000")
		}
		return f
	}
	m.Read, m.Write = figures(job.Read), figures(job.Write)
	total = job.Read.Total + job.Write.Total
	if total == 0 {
		return m, 0, block.Errorf(block.Unavailable, "fio %s did no operation", j.Name)
	}
	return m, total, nil
}

// tail is the end of an output, for an error.
func tail(b []byte) []byte {
	const keep = 2000
	return b[max(0, len(b)-keep):]
}
