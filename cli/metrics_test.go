package cli

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
)

// What is counted for each request and each flush must not allocate: it is
// done on the data path.
func TestCountingAllocatesNothing(t *testing.T) {
	m := metrics{prometheus.NewRegistry()}
	n, l := newNBDMetrics(m), newLogMetrics(m)
	for name, count := range map[string]func(){
		"a request":          func() { n.RequestDone(nbd.OpWrite, block.Size, time.Millisecond, nbd.OK, false) },
		"an unknown command": func() { n.RequestDone(0, 0, time.Millisecond, nbd.OK, false) },
		"a flush":            func() { l.Flushed(3, 4*block.Size, time.Millisecond) },
	} {
		if got := testing.AllocsPerRun(1000, count); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// An operation that is newer than these metrics counts as unknown.
func TestCountingUnknownOperations(t *testing.T) {
	r := prometheus.NewRegistry()
	n := newNBDMetrics(metrics{r})
	n.RequestDone(nbd.OpBlockStatus+1, 0, 0, nbd.EIO, false)
	n.RequestDone(nbd.OpRead, 0, 0, nbd.EIO, true)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "sextant_nbd_requests_total" {
			continue
		}
		for _, s := range f.GetMetric() {
			got[s.GetLabel()[0].GetValue()+" "+s.GetLabel()[1].GetValue()] = s.GetCounter().GetValue()
		}
	}
	if got["other eio"] != 1 || got["read severed"] != 1 || got["read ok"] != 0 {
		t.Errorf("counted %v", got)
	}
}

func BenchmarkCountRequest(b *testing.B) {
	n := newNBDMetrics(metrics{prometheus.NewRegistry()})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.RequestDone(nbd.OpWrite, block.Size, time.Millisecond, nbd.OK, false)
		}
	})
}
