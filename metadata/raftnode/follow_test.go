package raftnode

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
)

// voters are members m0, m1, ..., of which m0 asks.
func voters(n int) (all []raft.Server) {
	for i := range n {
		all = append(all, raft.Server{ID: raft.ServerID([]byte{'m', '0' + byte(i)}), Suffrage: raft.Voter})
	}
	return all
}

// A majority is more than half of the voters, the asker among them. Others than
// voters do not count, and an asker that is no voter leads nobody.
func TestMajorityFollows(t *testing.T) {
	learner := raft.Server{ID: "l", Suffrage: raft.Nonvoter}
	for name, c := range map[string]struct {
		servers []raft.Server
		follow  string // which say yes
		want    bool
	}{
		"alone":                 {voters(1), "", true},
		"of two, none":          {voters(2), "", false},
		"of two, the other":     {voters(2), "1", true},
		"of three, none":        {voters(3), "", false},
		"of three, one":         {voters(3), "2", true},
		"of four, one":          {voters(4), "2", false},
		"of five, one":          {voters(5), "4", false},
		"of five, two":          {voters(5), "24", true},
		"a learner":             {append(voters(3), learner), "l", false},
		"no voter itself":       {voters(3)[1:], "12", false},
		"nobody":                {nil, "", false},
		"alone beside learners": {append(voters(1), learner), "", true},
	} {
		var wg sync.WaitGroup
		f := newFollowing(func(to raft.Server, term uint64) error {
			for _, r := range c.follow {
				if to.ID[len(to.ID)-1] == byte(r) && term == 7 {
					return nil
				}
			}
			return errors.New("it follows another")
		}, wg.Go)
		err := f.majority(context.Background(), c.servers, "m0", 7)
		if (err == nil) != c.want || err != nil && block.KindOf(err) != block.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		wg.Wait()
	}
}

// T28: what a voter answers to a heartbeat that was sent before somebody asked is
// no answer for him: it may have elected another leader since. It is asked anew.
func TestT28AnswerThatIsOnItsWayDoesNotCount(t *testing.T) {
	type asking struct {
		to     raft.ServerID
		answer chan error
	}
	asked := make(chan asking, 8)
	var wg sync.WaitGroup
	f := newFollowing(func(to raft.Server, _ uint64) error {
		a := asking{to.ID, make(chan error)}
		asked <- a
		return <-a.answer
	}, wg.Go)
	question := func() <-chan error {
		done := make(chan error, 1)
		wg.Go(func() { done <- f.majority(context.Background(), voters(3), "m0", 7) })
		return done
	}
	first := question()
	at := map[raft.ServerID]asking{}
	for range 2 {
		a := <-asked
		at[a.to] = a
	}
	at["m2"].answer <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	second := question()
	a := <-asked // m2 again; m1 still has not answered the first one
	a.answer <- errors.New("it is dead")
	at["m1"].answer <- nil
	select {
	case again := <-asked:
		if a.to != "m2" || again.to != "m1" {
			t.Errorf("%s and %s were asked for the second question", a.to, again.to)
		}
		again.answer <- errors.New("it follows another")
		if err := <-second; block.KindOf(err) != block.Unavailable {
			t.Errorf("nobody follows: %v", err)
		}
	case err := <-second:
		t.Errorf("an answer to an older question counted: %v", err)
	}
	wg.Wait()
}

// Who does not answer is waited for no longer than the caller wants, and is in
// nobody else's way.
func TestFollowingEndsWithItsCaller(t *testing.T) {
	hang := make(chan struct{})
	var wg sync.WaitGroup
	f := newFollowing(func(to raft.Server, _ uint64) error {
		if to.ID == "m1" {
			<-hang
		}
		return nil
	}, wg.Go)
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := f.majority(short, voters(2), "m0", 7); block.KindOf(err) != block.Unavailable {
		t.Errorf("nobody has answered: %v", err)
	}
	for range 3 {
		if err := f.majority(context.Background(), voters(3), "m0", 7); err != nil {
			t.Errorf("one voter hangs: %v", err)
		}
	}
	close(hang)
	wg.Wait()
}
