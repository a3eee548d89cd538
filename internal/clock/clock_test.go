package clock_test

import (
	"context"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/clock"
)

func fired(t *testing.T, tm clock.Timer) bool {
	t.Helper()
	select {
	case <-tm.C():
		return true
	default:
		return false
	}
}

func TestFakeFiresOnlyWhatIsDueInOrder(t *testing.T) {
	f := clock.NewFake(time.Time{})
	late, early := f.NewTimer(2*time.Second), f.NewTimer(time.Second)
	f.Advance(time.Second - 1)
	if fired(t, early) || fired(t, late) {
		t.Fatal("a timer fired before its deadline")
	}
	f.Advance(1)
	if !fired(t, early) || fired(t, late) {
		t.Fatal("at one second exactly the early timer must have fired, the late one not")
	}
	f.Advance(time.Hour)
	if at := <-late.C(); !at.Equal(f.Now().Add(-time.Hour + time.Second)) {
		t.Fatalf("the late timer's tick says %v, not its deadline", at)
	}
}

func TestFakeStopAndResetLeaveNoStaleTick(t *testing.T) {
	f := clock.NewFake(time.Time{})
	tm := f.NewTimer(time.Second)
	f.Advance(time.Second)
	if tm.Stop() {
		t.Fatal("Stop says that a fired timer was running")
	}
	if fired(t, tm) {
		t.Fatal("a tick survived Stop")
	}
	tm.Reset(time.Second)
	f.Advance(time.Second)
	if tm.Reset(time.Minute) || fired(t, tm) {
		t.Fatal("a tick survived Reset")
	}
	if !tm.Stop() || f.Running() != 0 {
		t.Fatal("Stop did not stop a running timer")
	}
}

func TestFakeTimerOfNothingFiresAtOnce(t *testing.T) {
	f := clock.NewFake(time.Time{})
	if !fired(t, f.NewTimer(0)) || !fired(t, f.NewTimer(-1)) {
		t.Fatal("a timer that is due already must fire at once")
	}
}

func TestFakeAwaitRunning(t *testing.T) {
	f := clock.NewFake(time.Time{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		<-f.After(time.Second)
		close(done)
	}()
	if err := f.AwaitRunning(ctx, 1); err != nil {
		t.Fatal(err)
	}
	f.Advance(time.Second)
	<-done
	short, stop := context.WithCancel(ctx)
	stop()
	if f.AwaitRunning(short, 1) == nil {
		t.Fatal("AwaitRunning returned nil with no timer running")
	}
}

func TestRealMovesForward(t *testing.T) {
	c := clock.Real()
	before := c.Now()
	tm := c.NewTimer(time.Millisecond)
	<-tm.C()
	<-c.After(time.Millisecond)
	if d := c.Now().Sub(before); d < 2*time.Millisecond {
		t.Fatalf("two timers of 1 ms took %v", d)
	}
	if tm.Reset(time.Hour) || !tm.Stop() {
		t.Fatal("Reset or Stop of a real timer told the wrong state")
	}
}
