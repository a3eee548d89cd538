package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// manifestMagic begins a manifest.
const manifestMagic = "SXTCKP\r\n"

// checkpointVersion is written to each manifest. A store refuses a higher one
// (kind Version): it may have let go of log files that only such a checkpoint
// can replace.
//
//	1  two manifests in turn, a state, parts of leaves
//	2  the state of a segment ends with its hydration
//	3  of which the round has a number
const checkpointVersion = 3

// generation numbers the checkpoints of a store, and the files that belong to
// each. It is never used twice. 0: none.
type generation uint32

// position is a place between two batches of a log: behind the batch of that
// number. The zero value is the start of the log.
type position struct {
	file     fileSeq  // the file of that batch, or of the next one
	page     pageNo   // behind that batch
	lastPage pageNo   // where that batch begins, or 0 if none is in file
	batch    batchSeq // its number
}

// positions are places in both logs of a store.
type positions struct{ hot, cold position }

// partUse is a file of leaves, and how many it has room for.
type partUse struct {
	part   generation
	leaves int
}

// manifest makes a checkpoint: it names all that the checkpoint is made of,
// and up to where the log is in it. Contents and position are one unit: there
// is no checkpoint but through a manifest whose checksums all match. It is
// written to one of two files in turn, so that a torn one costs nothing.
//
// It takes whole pages, zero where nothing is listed:
//
//	 0  8  magic
//	 8  4  version
//	12  4  crc32c of all pages with this field zero. Magic, version and crc
//	       have the same place in all versions
//	16 16  disk         whose checkpoint this is
//	32  4  pages        of this manifest
//	36  4  generation   the higher of two good manifests is in force
//	40  8  state length in bytes
//	48  4  state crc32c
//	52  4  next segment number that was never given out
//	56 20  hot          position: file 4, page 4, last page 4, batch 8
//	76 20  cold         position in the log of what cleaning moved
//	96  4  parts        how many follow: generation 4, leaves 4 each
//	100 4  files        how many follow: number 4 each, ascending. The log
//	                    files that were there: one of them that is gone, and
//	                    that nothing says was cleaned, is lost
type manifest struct {
	version     uint32 // that it was read with; what is written has the newest
	disk        block.DiskID
	generation  generation
	stateLength block.ByteCount
	stateSum    block.Sum
	nextSegment segIndex
	at          positions
	parts       []partUse // ascending
	files       []fileSeq // ascending
}

const (
	manifestHead = 104
	partUseSize  = 8
	// maxManifest bounds what is read: some 500,000 log files.
	maxManifest = 2 * block.MiB
)

// encode gives whole pages.
func (m *manifest) encode() []byte {
	var w stateWriter
	w.bytes([]byte(manifestMagic))
	w.u32(checkpointVersion)
	w.u32(0)
	w.bytes(m.disk[:])
	n := manifestHead + partUseSize*len(m.parts) + 4*len(m.files)
	pages := (n + pageSize - 1) / pageSize
	w.count(pages)
	w.u32(uint32(m.generation))
	w.u64(uint64(m.stateLength))
	w.sum(m.stateSum)
	w.u32(uint32(m.nextSegment))
	for _, at := range []position{m.at.hot, m.at.cold} {
		w.u32(uint32(at.file))
		w.u32(uint32(at.page))
		w.u32(uint32(at.lastPage))
		w.u64(uint64(at.batch))
	}
	w.count(len(m.parts))
	w.count(len(m.files))
	for _, p := range m.parts {
		w.u32(uint32(p.part))
		w.count(p.leaves)
	}
	for _, f := range m.files {
		w.u32(uint32(f))
	}
	p := alignedPages(pages)
	copy(p, w.p)
	binary.LittleEndian.PutUint32(p[12:], uint32(sumWithout(p, 12)))
	return p
}

// decodeManifest reads a manifest file. Error kinds: Corrupt, Version.
func decodeManifest(p []byte) (*manifest, error) {
	if len(p) < pageSize || string(p[:8]) != manifestMagic {
		return nil, block.Errorf(block.Corrupt, "not a checkpoint's manifest: no magic at its start")
	}
	le := binary.LittleEndian
	pages := int(le.Uint32(p[32:]))
	if pages == 0 || pages > len(p)/pageSize {
		return nil, block.Errorf(block.Corrupt, "manifest of %d pages in a file of %d", pages, len(p)/pageSize)
	}
	p = p[:pages*pageSize]
	if want, got := block.Sum(le.Uint32(p[12:])), sumWithout(p, 12); want != got {
		return nil, block.Errorf(block.Corrupt, "manifest has checksum %08x instead of %08x", uint32(got), uint32(want))
	}
	v := le.Uint32(p[8:])
	if v == 0 || v > checkpointVersion {
		return nil, block.Errorf(block.Version, "checkpoint format %d is newer than the %d that this program knows: run a newer one", v, checkpointVersion)
	}
	r := stateReader{p: p[16:]}
	m := &manifest{version: v}
	m.decode(&r)
	if r.bad || !allZero(r.p) {
		return nil, block.Errorf(block.Corrupt, "manifest says what format %d has no place for", checkpointVersion)
	}
	return m, nil
}

func (m *manifest) decode(r *stateReader) {
	copy(m.disk[:], r.next(len(m.disk)))
	r.u32() // pages
	m.generation = generation(r.u32())
	m.stateLength = block.ByteCount(r.u64())
	m.stateSum = r.sum()
	m.nextSegment = segIndex(r.u32())
	for _, at := range []*position{&m.at.hot, &m.at.cold} {
		*at = position{fileSeq(r.u32()), pageNo(r.u32()), pageNo(r.u32()), batchSeq(r.u64())}
		r.check(at.lastPage <= at.page && at.page.bytes() <= MaxFileSize)
	}
	parts, files := int(r.u32()), int(r.u32())
	r.check(parts <= len(r.p)/partUseSize && files <= (len(r.p)-parts*partUseSize)/4)
	if r.bad {
		return
	}
	for range parts {
		m.parts = append(m.parts, partUse{generation(r.u32()), int(r.u32())})
	}
	for range files {
		m.files = append(m.files, fileSeq(r.u32()))
	}
	r.check(m.generation != 0 && m.ordered() && (parts == 0 || m.parts[parts-1].part <= m.generation))
}

// ordered tells whether parts and files ascend.
func (m *manifest) ordered() bool {
	for i := range m.parts {
		if i > 0 && m.parts[i].part <= m.parts[i-1].part || m.parts[i].leaves > maxLeaves {
			return false
		}
	}
	for i := range m.files {
		if i > 0 && m.files[i] <= m.files[i-1] {
			return false
		}
	}
	return true
}
