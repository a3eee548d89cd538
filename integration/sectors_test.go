package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	sectorBytes = 512
	// sectorWriters write at once; neighbouring sectors are different
	// writers', so that their changes meet in the same blocks.
	sectorWriters = 8
	sectorCount   = 1024
)

// sectors checks writes of parts of blocks (B1): each sector of 512 bytes has
// one writer, which writes one version after the other, and waits for each
// to be acknowledged.
type sectors struct {
	from block.Offset
	// sent and acked are the newest versions of each sector. Invariant: the
	// sector holds a version between acked and sent.
	sent, acked [sectorCount]uint32
}

// sectorOf is what a version of a sector looks like; version 0 is zeroes.
func sectorOf(s int, version uint32) []byte {
	word := make([]byte, 8)
	if version > 0 {
		binary.BigEndian.PutUint32(word, version)
		binary.BigEndian.PutUint32(word[4:], uint32(s))
	}
	return bytes.Repeat(word, sectorBytes/len(word))
}

// load writes until stop is called; stop returns the error that ended it
// before, of kind Closed if the server is gone.
func (x *sectors) load(ctx context.Context, conn *stamp.Conn) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	errs := make([]error, sectorWriters)
	var wg sync.WaitGroup
	for i := range sectorWriters {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = x.write(conn, i+sectorWriters*rand.IntN(sectorCount/sectorWriters))
			}
		})
	}
	return func() error {
		cancel()
		wg.Wait()
		return errors.Join(errs...)
	}
}

func (x *sectors) write(conn *stamp.Conn, s int) error {
	x.sent[s]++
	if err := conn.Write(sectorOf(s, x.sent[s]), x.from+block.Offset(s*sectorBytes)); err != nil {
		return err
	}
	x.acked[s] = x.sent[s]
	return nil
}

// verify reads all sectors. What they hold after the death of their server
// is what they keep.
func (x *sectors) verify(conn *stamp.Conn) error {
	all := make([]byte, sectorCount*sectorBytes)
	if err := conn.Read(all, x.from); err != nil {
		return err
	}
	for s := range sectorCount {
		got := all[s*sectorBytes:][:sectorBytes]
		version := binary.BigEndian.Uint32(got)
		if version < x.acked[s] || version > x.sent[s] || !bytes.Equal(got, sectorOf(s, version)) {
			return fmt.Errorf("sector %d holds %x..., want a version from %d to %d", s, got[:16], x.acked[s], x.sent[s])
		}
		x.acked[s] = version
	}
	return nil
}

// versions counts the writes that were acknowledged.
func (x *sectors) versions() (n int) {
	for _, v := range x.acked {
		n += int(v)
	}
	return n
}
