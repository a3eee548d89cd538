package pull

import "testing"

// R20: a segment lags if it has not reached by now what a peer had before.
func TestR20WatchComparesWithTheLookBefore(t *testing.T) {
	var w Watch
	own, peer := Told{Epoch: 3, SCL: 10}, Told{Epoch: 3, SCL: 20, Usable: true}
	look := func(want Verdict) {
		t.Helper()
		if v := w.Look(own, peer); v != want {
			t.Fatalf("verdict %+v, want %+v", v, want)
		}
	}
	look(Verdict{}) // it may be on its way
	own.SCL, peer.SCL = 20, 30
	look(Verdict{})
	peer.Usable, peer.SCL = false, 99
	own.SCL = 25
	look(Verdict{UpTo: 30})
	own.SCL = 30
	look(Verdict{}) // what an unusable peer says does not count
	own.Hydrating = true
	look(Verdict{})
	peer.Usable, peer.SCL = true, 31
	look(Verdict{UpTo: 31})
}

// R20: nobody pulls from a peer of another epoch; one that stays above is a
// reason to ask which epoch is the newest.
func TestR20WatchLearnsOfAHigherEpoch(t *testing.T) {
	var w Watch
	own, peer := Told{Epoch: 3, SCL: 10}, Told{Epoch: 4, SCL: 20, Usable: true}
	for i, want := range []Verdict{{}, {Learn: true}, {Learn: true}} {
		if v := w.Look(own, peer); v != want {
			t.Fatalf("look %d: %+v, want %+v", i, v, want)
		}
	}
	own.Epoch = 4
	for i, want := range []Verdict{{}, {UpTo: 20}} {
		if v := w.Look(own, peer); v != want {
			t.Fatalf("look %d under the same epoch: %+v, want %+v", i, v, want)
		}
	}
}

// R29: what the writer of the same epoch has told a usable peer to settle, and of
// no other.
func TestR29WatchTellsWhatThePeerHasSettled(t *testing.T) {
	for name, x := range map[string]struct {
		peer Told
		want Verdict
	}{
		"of the same epoch": {Told{Epoch: 3, SCL: 10, Floor: 7, Usable: true}, Verdict{Floor: 7}},
		"of another epoch":  {Told{Epoch: 2, SCL: 10, Floor: 7, Usable: true}, Verdict{}},
		"not usable":        {Told{Epoch: 3, SCL: 10, Floor: 7}, Verdict{}},
	} {
		var w Watch
		if v := w.Look(Told{Epoch: 3, SCL: 10}, x.peer); v != x.want {
			t.Errorf("a peer %s: %+v, want %+v", name, v, x.want)
		}
	}
}
