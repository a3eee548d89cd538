package raftnode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
)

// leased is a lone member on a fake clock whose lead is older than a lease.
func leased(t testing.TB) (*clock.Fake, *Node, *metadata.Client) {
	t.Helper()
	hand := clock.NewFake(time.Time{})
	n, c := lone(t, func(cfg *Config) { cfg.Clock = hand })
	hand.Advance(time.Minute)
	return hand, n, c
}

func tryOpen(t testing.TB, c *metadata.Client, gateway string, takeover bool) (metadata.Opened, error) {
	t.Helper()
	return c.OpenVolume(within(t), metadata.OpenRequest{Volume: "v", Gateway: metadata.GatewayID(gateway), Description: "a test", Takeover: takeover})
}

func renew(t testing.TB, c *metadata.Client, v metadata.Volume, gateway string) error {
	t.Helper()
	_, err := c.RenewLease(within(t), metadata.LeaseReport{Volume: v.ID, Epoch: v.Epoch, Gateway: metadata.GatewayID(gateway)})
	return err
}

// opening is an OpenVolume that waits at the service.
type opening struct {
	t      testing.TB
	opened metadata.Opened
	answer chan error
}

// startOpen opens in the background; it returns when the service waits for news
// of the owner.
func startOpen(t testing.TB, hand *clock.Fake, c *metadata.Client, gateway string) *opening {
	t.Helper()
	o := &opening{t: t, answer: make(chan error, 1)}
	go func() {
		var err error
		o.opened, err = tryOpen(t, c, gateway, false)
		o.answer <- err
	}()
	if err := hand.AwaitRunning(within(t), 1); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *opening) waits() {
	o.t.Helper()
	select {
	case err := <-o.answer:
		o.t.Fatalf("answered before it was known whether the owner lives: %v", err)
	default:
	}
}

// Who wants a volume whose lease is alive waits: a sign of life of the owner
// within the lease's time means no, silence means yes.
func TestLivingOwnerIsRespectedADeadOnesLeaseIsWaitedFor(t *testing.T) {
	hand, _, c := leased(t)
	create(t, c, "v", block.MiB)
	v := open(t, c, "v", "g1").Volume
	o := startOpen(t, hand, c, "g2")
	hand.Advance(metadata.LeaseFor - 1)
	o.waits()
	if err := renew(t, c, v, "g1"); err != nil {
		t.Fatal(err)
	}
	err := <-o.answer
	if !errors.Is(err, block.Held) {
		t.Fatalf("the owner lives: %v", err)
	}
	for _, says := range []string{"volume v", "gateway g1", "a test", "--force", "2s"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the refusal does not say %q: %v", says, err)
		}
	}
	if hand.Running() != 0 {
		t.Error("a timer was left behind")
	}
	hand.Advance(metadata.LeaseFor / 2)
	o = startOpen(t, hand, c, "g2")
	hand.Advance(metadata.LeaseFor/2 - 1)
	o.waits()
	hand.Advance(1) // a lease's time after the last renewal, not after the question
	if err := <-o.answer; err != nil || o.opened.Volume.Epoch != 2 || o.opened.CleanHandover {
		t.Fatalf("the owner is silent: %+v, %v", o.opened, err)
	}
	if err := renew(t, c, v, "g1"); !errors.Is(err, block.Fenced) {
		t.Fatalf("the first owner renews: %v", err)
	}
	hand.Advance(metadata.LeaseFor)
	if o, err := tryOpen(t, c, "g3", false); err != nil || o.Volume.Epoch != 3 {
		t.Fatalf("long after the lease: %+v, %v", o, err)
	}
}

// The wait for an owner that may be dead ends at once when it says goodbye.
func TestGoodbyeEndsTheWaitForTheOwner(t *testing.T) {
	hand, _, c := leased(t)
	create(t, c, "v", block.MiB)
	v := open(t, c, "v", "g1").Volume
	o := startOpen(t, hand, c, "g2")
	if err := c.CloseVolume(within(t), metadata.CloseRequest{Volume: v.ID, Epoch: v.Epoch, ReadLeasesExpired: true}); err != nil {
		t.Fatal(err)
	}
	if err := <-o.answer; err != nil || !o.opened.CleanHandover {
		t.Fatalf("%+v, %v", o.opened, err)
	}
}

func TestTakeoverAndTheSameGatewayNeedNotWait(t *testing.T) {
	_, _, c := leased(t)
	create(t, c, "v", block.MiB)
	open(t, c, "v", "g1")
	if o, err := tryOpen(t, c, "g1", false); err != nil || o.Volume.Epoch != 2 || o.CleanHandover {
		t.Fatalf("the same gateway again: %+v, %v", o, err)
	}
	o, err := tryOpen(t, c, "g2", true)
	if err != nil || o.Volume.Epoch != 3 || o.CleanHandover {
		t.Fatalf("a takeover: %+v, %v", o, err)
	}
	if err := c.OpenDone(within(t), o.Volume.ID, 2, nil); !errors.Is(err, block.Fenced) {
		t.Fatalf("the old owner reports its recovery done: %v", err)
	}
	if err := c.OpenDone(within(t), o.Volume.ID, 3, nil); err != nil {
		t.Fatal(err)
	}
	if err := renew(t, c, metadata.Volume{ID: o.Volume.ID, Epoch: 3}, "g1"); !errors.Is(err, block.Mismatch) {
		t.Fatalf("another gateway renews under the owner's epoch: %v", err)
	}
}

// R14: a goodbye frees the volume at once; the next owner may skip its wait
// only if the owner before says that read leases are over.
func TestR14GoodbyeFreesTheVolume(t *testing.T) {
	_, _, c := leased(t)
	create(t, c, "v", block.MiB)
	for i, expired := range []bool{false, true} {
		o := open(t, c, "v", fmt.Sprint("g", i))
		if err := c.CloseVolume(within(t), metadata.CloseRequest{Volume: o.Volume.ID, Epoch: o.Volume.Epoch, ReadLeasesExpired: expired}); err != nil {
			t.Fatal(err)
		}
		if err := renew(t, c, o.Volume, fmt.Sprint("g", i)); !errors.Is(err, block.Fenced) {
			t.Fatalf("an owner that said goodbye renews: %v", err)
		}
		next := open(t, c, "v", "next")
		if next.CleanHandover != expired {
			t.Errorf("read leases expired %v: clean handover %v", expired, next.CleanHandover)
		}
		if err := c.CloseVolume(within(t), metadata.CloseRequest{Volume: o.Volume.ID, Epoch: next.Volume.Epoch, ReadLeasesExpired: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// A fresh leader knows no lease: it lets a lease's time pass before it gives
// a volume to another gateway, so that the holder can be heard.
func TestFreshLeaderWaitsOneLease(t *testing.T) {
	for _, heard := range []bool{false, true} {
		t.Run(fmt.Sprint("holder heard ", heard), func(t *testing.T) {
			hand := clock.NewFake(time.Time{})
			cfg := loopback("m1", t.TempDir())
			cfg.Bootstrap, cfg.Clock = true, hand
			n := start(t, cfg)
			ready(t, n)
			c := client(t, n.Addr())
			create(t, c, "v", block.MiB)
			v := open(t, c, "v", "g1").Volume
			n.Close()

			n = start(t, cfg)
			ready(t, n)
			c = client(t, n.Addr())
			o := startOpen(t, hand, c, "g2")
			hand.Advance(metadata.LeaseFor - 1)
			o.waits()
			if heard {
				if err := renew(t, c, v, "g1"); err != nil {
					t.Fatal(err)
				}
			} else {
				hand.Advance(1)
			}
			if err := <-o.answer; heard != errors.Is(err, block.Held) || !heard && err != nil {
				t.Fatalf("after a lease's time: %v", err)
			}
		})
	}
}

// The wait of a fresh leader ends with the caller's patience.
func TestFreshLeaderWaitEndsWithContext(t *testing.T) {
	hand := clock.NewFake(time.Time{})
	s := newSoft(hand, Timing{LeaseFor: metadata.LeaseFor, DownAfter: metadata.DownAfter})
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error, 1)
	go func() {
		_, err := s.free(ctx, "g2", 0, func() (metadata.Volume, error) {
			return metadata.Volume{Name: "v", State: metadata.Open, Gateway: "g1", Epoch: 1}, nil
		})
		answer <- err
	}()
	if err := hand.AwaitRunning(within(t), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if hand.Running() != 0 {
		t.Fatal("a timer was left behind")
	}
}

// Of many gateways that find a volume free at the same moment, one gets it. It
// lives, so the others are refused.
func TestOneOfManyOpensWins(t *testing.T) {
	hand, _, c := leased(t)
	create(t, c, "v", block.MiB)
	for round := range block.VolumeEpoch(5) {
		const many = 12
		errs := make(chan error, many)
		for i := range many {
			go func() {
				_, err := tryOpen(t, c, fmt.Sprintf("g%d-%d", round, i), false)
				errs <- err
			}()
		}
		won, answered := 0, 0
		var owner metadata.Volume
		eventually(t, "every gateway answered", func() bool {
			if owner.Epoch != round+1 {
				owner, _ = c.Volume(within(t), "v")
			}
			if owner.Epoch == round+1 { // so that those who came late hear of it
				if err := renew(t, c, owner, string(owner.Gateway)); err != nil {
					t.Fatal(err)
				}
			}
			for {
				select {
				case err := <-errs:
					answered++
					if err == nil {
						won++
					} else if !errors.Is(err, block.Held) {
						t.Errorf("a loser was told: %v", err)
					}
				default:
					return answered == many
				}
			}
		})
		v, err := c.Volume(within(t), "v")
		if won != 1 || err != nil || v.Epoch != round+1 {
			t.Fatalf("round %d: %d gateways won, epoch %d, %v", round, won, v.Epoch, err)
		}
		hand.Advance(metadata.LeaseFor)
	}
}

func TestLeaseTellsOfResize(t *testing.T) {
	_, _, c := leased(t)
	create(t, c, "v", block.MiB)
	v := open(t, c, "v", "g1").Volume
	if _, err := c.ResizeVolume(within(t), "v", 3*block.MiB); err != nil {
		t.Fatal(err)
	}
	r, err := c.RenewLease(within(t), metadata.LeaseReport{Volume: v.ID, Epoch: 1, Gateway: "g1"})
	if err != nil || r.Size != 3*block.MiB || r.Version <= v.Version {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := c.ResizeVolume(within(t), "v", block.MiB); !errors.Is(err, block.Invalid) {
		t.Fatalf("shrinking: %v", err)
	}
}

func TestLivenessFollowsTheClock(t *testing.T) {
	hand, _, c := leased(t)
	d := newDaemon(t, c, "a1")
	up := func() bool {
		n, err := c.Node(within(t), "a1")
		if err != nil {
			t.Fatal(err)
		}
		return n.Up
	}
	hand.Advance(metadata.DownAfter - 1)
	if !up() {
		t.Fatal("down before its time")
	}
	hand.Advance(1)
	if up() {
		t.Fatal("up though nothing was heard for DownAfter")
	}
	d.beat(func(h *metadata.Heartbeat) { h.Used = 7 })
	if n, _ := c.Node(within(t), "a1"); !n.Up || n.Used != 7 || !n.Heard {
		t.Fatalf("after a heartbeat: %+v", n)
	}
	d.reg.Boot = 2 // another start registers; the old process' heartbeats are refused
	d.reg.Session = metadata.NewSession()
	if _, err := c.RegisterNode(within(t), d.reg); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Heartbeat(within(t), metadata.Heartbeat{Node: "a1", Disk: d.reg.Disk, Boot: 1}); !errors.Is(err, block.Mismatch) {
		t.Fatalf("the older process: %v", err)
	}
}

// A new owner hears for how long at least the epoch before it was the newest, as
// this member has seen it: since it applied that, or since it began (R14).
func TestR14OpeningTellsTheAgeOfTheEpochBefore(t *testing.T) {
	hand := clock.NewFake(time.Time{})
	cfg := loopback("m1", t.TempDir())
	cfg.Bootstrap, cfg.Clock = true, hand
	n := start(t, cfg)
	ready(t, n)
	c := client(t, n.Addr())
	create(t, c, "v", block.MiB)
	create(t, c, "w", block.MiB)
	former := func(volume string) time.Duration {
		t.Helper()
		o, err := c.OpenVolume(within(t), metadata.OpenRequest{Volume: volume, Gateway: "g", Description: "a test", Takeover: true})
		if err != nil {
			t.Fatal(err)
		}
		return o.FormerFor
	}
	want := func(volume string, d time.Duration) {
		t.Helper()
		if got := former(volume); got != d {
			t.Errorf("volume %s had the epoch before for %v, want %v", volume, got, d)
		}
	}
	former("v")
	hand.Advance(time.Minute)
	former("w")
	want("v", time.Minute)
	hand.Suspend(time.Second)
	want("v", time.Second)
	if _, err := c.ResizeVolume(within(t), "v", 2*block.MiB); err != nil {
		t.Fatal(err)
	}
	hand.Advance(time.Second)
	want("v", time.Second)
	want("w", 2*time.Second)
	hand.Advance(time.Hour)
	n.Close()
	n = start(t, cfg) // it does not know for how long the last epoch has been there
	ready(t, n)
	c = client(t, n.Addr())
	hand.Advance(time.Millisecond)
	want("v", time.Millisecond)
}
