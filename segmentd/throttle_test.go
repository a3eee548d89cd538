package segmentd

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/segmentd/pull"
)

// TestR22RateYieldsToGateways: full speed on an idle disk, less with load,
// never nothing; and records come faster than they are written.
func TestR22RateYieldsToGateways(t *testing.T) {
	for _, c := range []struct{ load, leaves, records block.ByteCount }{
		{0, rateIdle, rateIdle},
		{block.MiB, rateMost - 64*block.MiB, rateMost - 16*block.MiB},
		{3 * block.MiB, rateMost - 192*block.MiB, rateMost - 48*block.MiB},
		{10 * block.MiB, takeLeast, rateMost - 160*block.MiB},
		{40 * block.MiB, takeLeast, 120 * block.MiB},
		{block.GiB, takeLeast, 3 * block.GiB},
	} {
		leaves, records := rateFor(leafTraffic, c.load, takeLeast), rateFor(recordTraffic, c.load, takeLeast)
		if leaves != c.leaves || records != c.records {
			t.Errorf("load %v: leaves at %v, records at %v; want %v and %v", c.load, leaves, records, c.leaves, c.records)
		}
	}
}

// TestR22ASegmentIsHydratedInTime: whatever the load, a segment that is full comes
// before the logs go that hydration is to continue from.
func TestR22ASegmentIsHydratedInTime(t *testing.T) {
	const full = 10 * block.GiB
	for _, size := range []block.ByteCount{0, block.GiB, full} {
		give, take := rateFor(leafTraffic, block.GiB, giveFloor(size)), rateFor(leafTraffic, block.GiB, takeFloor(size))
		if give < giveLeast || take < takeLeast {
			t.Errorf("%v: given at %v, taken at %v", size, give, take)
		}
		const most = 5 * 60
		if size/(give*pull.MaxDonors) > most || size/take > most {
			t.Errorf("%v: given at %v by each of %d, taken at %v: that takes longer than logs are kept", size, give, pull.MaxDonors, take)
		}
	}
	if giveFloor(block.GiB) != giveLeast {
		t.Errorf("1 GiB is given at %v", giveFloor(block.GiB))
	}
}

// TestR22LoadFades: a gateway that is held up for a moment is no idle one.
func TestR22LoadFades(t *testing.T) {
	load := loadNow(0, 4*block.MiB, loadEvery)
	if load != 40*block.MiB {
		t.Fatalf("load %v", load)
	}
	for range 5 {
		load = loadNow(load, 0, loadEvery)
	}
	if load < 19*block.MiB || load > 20*block.MiB {
		t.Errorf("load %v half a second later", load)
	}
	for range 60 {
		load = loadNow(load, 0, loadEvery)
	}
	if load != 0 {
		t.Errorf("load %v six seconds later", load)
	}
}

// TestR22ThrottleKeepsTheRate: what is taken in a second is the rate, and the
// first to take knows the load.
func TestR22ThrottleKeepsTheRate(t *testing.T) {
	clk := clock.NewFake(time.Unix(1, 0))
	served := block.ByteCount(0)
	th := throttle{clock: clk, served: func() block.ByteCount { return served }}
	th.look()
	for range 10 { // a gateway writes 100 MiB a second
		clk.Advance(loadEvery)
		served += 10 * block.MiB
		th.look()
	}
	taken, waited := block.ByteCount(0), time.Duration(0)
	for waited < 10*time.Second {
		d := th.take(leafTraffic, pageBytes, giveLeast)
		clk.Advance(d)
		waited += d
		served += block.ByteCount(float64(100*block.MiB) * d.Seconds())
		taken += pageBytes
	}
	if !th.loaded() {
		t.Error("100 MiB a second are no load")
	}
	if want := 10 * giveLeast; taken < want || taken > want+burstLeast+2*pageBytes {
		t.Errorf("%v taken in %v, want %v", taken, waited, want)
	}
	th.look()
	for range 80 { // it is quiet again
		clk.Advance(loadEvery)
		th.look()
	}
	if th.loaded() {
		t.Error("there is a load though it is quiet")
	}
	for range 100 {
		if d := th.take(leafTraffic, pageBytes, giveLeast); d != 0 {
			t.Fatalf("on an idle disk 1 MiB waits for %v", d)
		}
	}
}
