package quorum

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// nth is the n-th largest (from 1) of value over the set. Sets are small; a
// partial insertion sort in a fixed array needs no allocation.
func nth[T ~uint64 | ~int64](set []Member, n int, value func(Member) T) T {
	var top [MaxMembers]T
	k := 0
	for _, m := range set {
		v := value(m)
		i := k
		for ; i > 0 && top[i-1] < v; i-- {
			top[i] = top[i-1]
		}
		top[i] = v
		k++
	}
	return top[n-1]
}

// Committed is the PGCL that the members' SCLs prove (rule R7): the least,
// over the sets, of the write-quorum-th largest SCL. Cumulative SCLs are
// counted, never single records (trap T3).
func (c *Config) Committed(scl func(Member) block.LSN) block.LSN {
	lowest, sets, fewer := block.LSN(1<<64-1), c.Sets, 0
	switch {
	case mutant.On(mutant.SmallWriteQuorum):
		fewer = 1
	case mutant.On(mutant.OldSetOnly):
		sets = sets[:1]
	case mutant.On(mutant.NewSetOnly):
		sets = sets[len(sets)-1:]
	}
	for _, set := range sets {
		lowest = min(lowest, nth(set.Members, set.Write-fewer, scl))
	}
	return lowest
}

// Answer is what a member said to a fence.
type Answer struct {
	Member Member
	SCL    block.LSN
	// Damaged: it may have acknowledged more than its SCL says.
	Damaged bool
}

// Recover decides from the answers to a fence (protocol §2.5 steps 3 and 4).
// ok is true when a read quorum of every set is fenced and those who may be
// counted for data surely have, together, whatever was acknowledged (finds);
// point is then the highest SCL of those who may, and donors are the members
// that have it. Damaged and unhydrated members count for the fence only. It must
// be the highest, not the lowest: an acknowledged record is on a write quorum,
// of which every read quorum has at least one member (trap T2).
func (c *Config) Recover(answers []Answer) (point block.LSN, donors Votes, ok bool) {
	var fenced, data Votes
	for _, a := range answers {
		fenced = fenced.Add(a.Member)
		if a.Damaged && !mutant.On(mutant.DamagedCounts) || c.Unhydrated[a.Member] && !mutant.On(mutant.UnhydratedCounts) {
			continue
		}
		data = data.Add(a.Member)
		better := a.SCL > point
		if mutant.On(mutant.LowestSCL) {
			better = a.SCL < point
		}
		switch {
		case donors == 0 || better:
			point, donors = a.SCL, Votes(0).Add(a.Member)
		case a.SCL == point:
			donors = donors.Add(a.Member)
		}
	}
	if !c.Fences(fenced) || !c.finds(data) {
		return 0, 0, false
	}
	return point, donors, true
}

// finds reports whether members that may be counted for data have, together,
// all that was acknowledged. One set is enough while the membership changes
// (R25). A record that was acknowledged with both sets has a write quorum in
// each. One that was acknowledged with the old set alone is found by
//
//   - a read quorum of the old set;
//   - a read quorum of the new one that has a member which joins: being
//     hydrated, that one has all of these records;
//   - a read quorum of the new one without such a member: all of them are of
//     the old set, and a read quorum of it if they are enough for that. They are
//     not when the new set is smaller: two of the four that go on without a zone
//     may lack what the old set acknowledged (R29).
func (c *Config) finds(data Votes) bool {
	for _, set := range c.Sets {
		enough := set.Read >= c.Sets[0].Read || mutant.On(mutant.FewFind)
		if enough && data.in(set) >= set.Read {
			return true
		}
	}
	return false
}

// Lease bounds of rule R14.
const (
	// LeaseTerm is how long a writer may serve reads after it last sent
	// something that a read quorum answered under its epoch.
	LeaseTerm = 2 * time.Second
	// LeaseWait is how long a successor waits before it acknowledges
	// writes, unless all members are fenced: the term and 10 % of drift.
	LeaseWait = LeaseTerm + LeaseTerm/10
)

// Confirmed tells whether the metadata service's word that an epoch is the
// newest still holds, given in answer to something sent at that time: it is a
// lease for reads (docs/adr/0002), and for taking what is not placed for empty
// (docs/adr/0003).
func Confirmed(now, sent time.Duration) bool {
	return now < sent+LeaseTerm || mutant.On(mutant.EmptyUnasked)
}

// EmptyWaits tells until when a former gateway may take a group that was placed
// in epoch born for empty, and the same if nobody has opened the group, as the
// writer of an epoch sees it.
//
// Not to know a group, a gateway must have opened the volume before the group was
// placed, so its epoch is at most born. If it is lower, it was confirmed last
// before born began. If it is born, it has placed the group itself, without
// hearing that this was done: then it has not opened the group either, and was
// confirmed last before born+1 began. A lease that was confirmed before this
// epoch began is over at thisOver, one from before the last epoch began at
// lastOver.
func EmptyWaits(born, epoch block.VolumeEpoch, thisOver, lastOver time.Duration) (empty, unopened time.Duration) {
	switch born {
	case epoch:
		return thisOver, thisOver
	case epoch - 1:
		return lastOver, thisOver
	}
	return lastOver, lastOver
}

// LeaseUntil is when the read lease ends (rule R14): sent gives, for each
// member, when the newest message that it answered was sent. A successor's
// EPOCH_OPEN needs a write quorum; every write quorum has a member of each
// read quorum; so at the read-quorum-th newest sending time no successor had
// opened.
func (c *Config) LeaseUntil(sent func(Member) time.Duration) time.Duration {
	lowest := time.Duration(1<<63 - 1)
	for _, set := range c.Sets {
		lowest = min(lowest, nth(set.Members, set.Read, sent))
	}
	return lowest + LeaseTerm
}
