package torture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// fsFiles are written to at a time, each up to fsFileMax long.
	fsFiles   = 12
	fsFileMax = 1 << 20
	// fsWriteMax is the longest write.
	fsWriteMax = 96 << 10
)

// fsLoad does to the files of a folder what programs do, one thing after
// another, and knows what must be in them.
type fsLoad struct {
	dir  string
	rng  *rand.Rand
	want map[string][]byte
	made int
	ops  atomic.Int64
}

func newFSLoad(dir string, seed uint64) *fsLoad {
	return &fsLoad{dir: dir, rng: rand.New(rand.NewPCG(seed, 0)), want: map[string][]byte{}}
}

// step does one thing.
func (l *fsLoad) step() error {
	l.ops.Add(1)
	if len(l.want) < fsFiles {
		l.made++
		name := fmt.Sprintf("file-%d", l.made)
		l.want[name] = nil
		return os.WriteFile(l.path(name), nil, 0o600)
	}
	name := l.pick()
	switch n := l.rng.IntN(100); {
	case n < 50:
		return l.write(name)
	case n < 65:
		return l.compare(name)
	case n < 71:
		return l.truncate(name)
	case n < 77:
		return l.punch(name)
	case n < 95:
		return l.fsync(name)
	case n < 97:
		l.made++
		to := fmt.Sprintf("file-%d", l.made)
		l.want[to] = l.want[name]
		delete(l.want, name)
		return os.Rename(l.path(name), l.path(to))
	default:
		delete(l.want, name)
		return os.Remove(l.path(name))
	}
}

func (l *fsLoad) path(name string) string { return filepath.Join(l.dir, name) }

// pick is one of the files, the same for the same seed.
func (l *fsLoad) pick() string {
	var names []string
	for name := range l.want {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[l.rng.IntN(len(names))]
}

func (l *fsLoad) on(name string, do func(f *os.File) error) error {
	f, err := os.OpenFile(l.path(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (l *fsLoad) write(name string) error {
	p := make([]byte, 1+l.rng.IntN(fsWriteMax))
	for i := range p {
		p[i] = byte(l.rng.Uint32())
	}
	at := l.rng.IntN(fsFileMax - len(p))
	if missing := at + len(p) - len(l.want[name]); missing > 0 {
		l.want[name] = append(l.want[name], make([]byte, missing)...)
	}
	copy(l.want[name][at:], p)
	return l.on(name, func(f *os.File) error {
		_, err := f.WriteAt(p, int64(at))
		return err
	})
}

func (l *fsLoad) truncate(name string) error {
	size := l.rng.IntN(fsFileMax)
	if size <= len(l.want[name]) {
		l.want[name] = l.want[name][:size]
	} else {
		l.want[name] = append(l.want[name], make([]byte, size-len(l.want[name]))...)
	}
	return os.Truncate(l.path(name), int64(size))
}

func (l *fsLoad) punch(name string) error {
	size := len(l.want[name])
	if size < 2 {
		return nil
	}
	at := l.rng.IntN(size - 1)
	n := 1 + l.rng.IntN(size-at)
	clear(l.want[name][at:min(at+n, size)])
	return l.on(name, func(f *os.File) error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n))
	})
}

func (l *fsLoad) fsync(name string) error { return l.on(name, (*os.File).Sync) }

func (l *fsLoad) compare(name string) error {
	return l.on(name, func(f *os.File) error {
		got, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		return same(name, got, l.want[name])
	})
}

func same(name string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s has %d bytes, want %d", name, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%s: byte %d is %#x, want %#x", name, i, got[i], want[i])
		}
	}
	return nil
}

// verify compares all files, and the folder.
func (l *fsLoad) verify() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, known := l.want[e.Name()]; !known {
			err = errors.Join(err, fmt.Errorf("%s should not be there", e.Name()))
		}
	}
	for name := range l.want {
		err = errors.Join(err, l.compare(name))
	}
	return err
}
