package logstore

import (
	"fmt"
	"slices"
	"testing"
)

// The files are found by their numbers and ascend, in whatever order they come:
// two heads make them.
func TestFileTableAscends(t *testing.T) {
	r := rng(1)
	table, plain := &fileTable{}, map[fileSeq]*logFile{}
	for range 2000 {
		seq := fileSeq(1 + r.IntN(200))
		if f := plain[seq]; f != nil {
			before := slices.Clone(table.all)
			next := table.without(f)
			if !slices.Equal(before, table.all) {
				t.Fatal("a table was changed that somebody may hold")
			}
			table = next
			delete(plain, seq)
		} else {
			plain[seq] = &logFile{header: fileHeader{seq: seq}}
			table = table.with(plain[seq])
		}
		if len(table.all) != len(plain) || !slices.IsSortedFunc(table.all, func(a, b *logFile) int { return int(a.header.seq) - int(b.header.seq) }) {
			t.Fatalf("%d files of %d, or not in order", len(table.all), len(plain))
		}
		if probe := fileSeq(r.IntN(202)); table.find(probe) != plain[probe] {
			t.Fatalf("file %d is not what was put there", probe)
		}
	}
}

func BenchmarkFileTable(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		table := &fileTable{}
		for i := range n {
			table = table.with(&logFile{header: fileHeader{seq: fileSeq(2 * i)}})
		}
		f := &logFile{header: fileHeader{seq: fileSeq(2 * n)}}
		b.Run(fmt.Sprintf("with-%d", n), func(b *testing.B) {
			for b.Loop() {
				_ = table.with(f)
			}
		})
		b.Run(fmt.Sprintf("find-%d", n), func(b *testing.B) {
			seq := fileSeq(0)
			for b.Loop() {
				_ = table.find(seq)
				seq = (seq + 1001) % fileSeq(2*n)
			}
		})
	}
}
