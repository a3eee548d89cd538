package pg

import (
	"sort"

	"github.com/sextantdisk/sextant/internal/block"
)

// ring holds the records of this epoch in LSN order: those not committed,
// and behind them those that some member may still need.
//
//	recs: [dropped | committed, kept for who lacks them | not committed]
//	               ^ head
type ring struct {
	recs  []*Record
	head  int
	bytes block.ByteCount // of the records held
	limit block.ByteCount
}

func (q *ring) len() int         { return len(q.recs) - q.head }
func (q *ring) at(i int) *Record { return q.recs[q.head+i] }

// view is records [i, j). It stays as it is until the next push, also when
// records of it are popped: within one step a member is sent records, counted,
// and the ring trimmed.
func (q *ring) view(i, j int) []*Record { return q.recs[q.head+i : q.head+j : q.head+j] }

func (q *ring) push(r *Record) {
	if q.head > 64 && q.head*2 > len(q.recs) {
		n := copy(q.recs, q.recs[q.head:])
		clear(q.recs[n:])
		q.recs, q.head = q.recs[:n], 0
	}
	q.recs = append(q.recs, r)
	q.bytes += r.size()
}

// pop drops the oldest record. Its place is cleared by a later push: a view
// may still show it.
func (q *ring) pop() *Record {
	r := q.recs[q.head]
	q.head++
	q.bytes -= r.size()
	return r
}

// firstAfter is the index of the first record above lsn, or len.
func (q *ring) firstAfter(lsn block.LSN) int {
	n := q.len()
	if n == 0 || q.at(n-1).LSN <= lsn {
		return n
	}
	if q.at(0).LSN > lsn {
		return 0
	}
	return sort.Search(n, func(i int) bool { return q.at(i).LSN > lsn })
}

// linksTo reports whether the ring can bring a member at scl up to date: it
// holds the record that follows scl in the chain. The second result is that
// record's index.
func (q *ring) linksTo(scl, tail block.LSN) (int, bool) {
	i := q.firstAfter(scl)
	if i == q.len() {
		return i, scl == tail
	}
	return i, q.at(i).Prev == scl
}
