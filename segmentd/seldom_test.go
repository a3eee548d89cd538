package segmentd

import (
	"testing"
	"time"
)

func TestSeldomTellsOneInASecond(t *testing.T) {
	var s seldom
	began := time.Unix(1000, 0)
	for _, c := range []struct {
		after  time.Duration
		untold uint64
		ok     bool
	}{{0, 0, true}, {0, 0, false}, {999 * time.Millisecond, 0, false}, {time.Second, 2, true}, {1500 * time.Millisecond, 0, false}, {time.Minute, 1, true}, {2 * time.Minute, 0, true}} {
		if untold, ok := s.due(began.Add(c.after)); untold != c.untold || ok != c.ok {
			t.Errorf("after %v: %d untold, %v; want %d, %v", c.after, untold, ok, c.untold, c.ok)
		}
	}
}
