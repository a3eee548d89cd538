package bench

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// warmPart is how much of a volume the jobs read that read from memory: little
// enough to be in memory soon, and to stay there while other jobs run.
const warmPart = 64 * block.MiB

// prepare brings the page caches of a side into the state that a job wants,
// and gives how much of the volume it goes over.
func prepare(ctx context.Context, j Job, s side, size block.ByteCount) (block.ByteCount, error) {
	// What one side has left in the page cache is not written out in the
	// other's time.
	unix.Sync()
	switch j.Cache {
	case Cold:
		return size, s.dropCaches()
	case Warm:
		size = min(size, warmPart)
		_, err := runFio(ctx, warming, s.uri, size, 0)
		return size, err
	}
	return size, nil
}

// dropCaches takes all files of a side out of the page cache. What is in the
// memory of its processes stays, and so does all of a side whose files are not
// known. Error kind: Unavailable.
func (s side) dropCaches() error {
	if s.files == "" {
		return nil
	}
	return filepath.WalkDir(s.files, func(name string, d fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err): // it was removed meanwhile
			return nil
		case err != nil:
			return block.Wrap(block.Unavailable, err, "looking for files of %s", s.name)
		case !d.Type().IsRegular():
			return nil
		}
		return dropCache(name)
	})
}

func dropCache(name string) error {
	f, err := os.Open(name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return block.Wrap(block.Unavailable, err, "opening a file that shall leave the page cache")
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return block.Wrap(block.Unavailable, err, "taking %s out of the page cache", name)
	}
	return nil
}
