package logstore

import (
	"cmp"
	"path"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// CheckpointInfo is one of the two checkpoints of a store, as opening finds it.
type CheckpointInfo struct {
	Manifest string `json:"manifest"`
	// Used tells whether opening begins with it, Why says why or why not.
	Used        bool             `json:"used"`
	Why         string           `json:"why"`
	Damage      string           `json:"damage,omitempty"` // if it cannot be read
	Version     uint32           `json:"version,omitempty"`
	Generation  uint32           `json:"generation,omitempty"`
	Disk        string           `json:"disk,omitempty"`
	Hot         *CheckpointPlace `json:"hot,omitempty"`
	Cold        *CheckpointPlace `json:"cold,omitempty"` // nil: nothing was ever moved
	NextSegment int              `json:"next_segment_number,omitempty"`
	LogFiles    int              `json:"log_files,omitempty"`
	State       *PartInfo        `json:"state,omitempty"`
	Parts       []PartInfo       `json:"parts,omitempty"`
	Segments    []SavedSegment   `json:"segments,omitempty"`
}

// CheckpointPlace is up to where a log is in a checkpoint.
type CheckpointPlace struct {
	File   string          `json:"file"`
	Offset block.ByteCount `json:"offset"`
	Batch  int             `json:"batch"`
}

// PartInfo is a file that a checkpoint is made of.
type PartInfo struct {
	File   string          `json:"file"`
	Size   block.ByteCount `json:"size"`
	Leaves int             `json:"leaves,omitempty"` // in it
	Used   int             `json:"used,omitempty"`   // by this checkpoint
}

// SavedSegment is a segment as a checkpoint has it.
type SavedSegment struct {
	Segment  string            `json:"segment"`
	Number   int               `json:"segment_number"`
	SCL      string            `json:"scl"`
	Floor    string            `json:"floor"`
	Promised block.VolumeEpoch `json:"promised"`
	Damaged  bool              `json:"damaged"`
	Records  int               `json:"records"` // above the floor, on the chain or off it
	Leaves   int               `json:"leaves"`
	Batch    int               `json:"batch"` // of the hot log, up to which it is in here
}

// InspectCheckpoints reads the checkpoints in dir, which no daemon may have
// open, with the decoder and the decisions of Open; it changes nothing. What
// cannot be read is told in Damage. Error kinds: those of Inspect.
func InspectCheckpoints(fsys vfs.FS, dir string) ([]CheckpointInfo, error) {
	parts, err := inspectParts(fsys, dir)
	defer closeParts(parts)
	if err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "log store %s cannot be locked: stop its daemon first", dir)
	}
	defer lock.Close()
	cfg, err := Config{ReadOnly: true}.normal()
	if err != nil {
		return nil, err
	}
	s := newStore(fsys, dir, diskOf(parts), cfg, lock)
	var all []slotInfo
	for slot := range s.ckpt.manifests {
		all = append(all, s.inspectSlot(slot))
	}
	slices.SortStableFunc(all, func(a, b slotInfo) int { return cmp.Compare(b.Generation, a.Generation) })
	return decide(all, parts), nil
}

// slotInfo is a checkpoint while it is looked at.
type slotInfo struct {
	CheckpointInfo
	manifest *manifest // nil: it has none that can be read
}

// diskOf is whose log it is, as the first header says that can be read.
func diskOf(parts []logPart) (disk block.DiskID) {
	for _, p := range parts {
		if p.file != nil {
			return p.file.header.disk
		}
	}
	return disk
}

// inspectSlot reads one of the two manifests and what it names.
func (s *Store) inspectSlot(slot int) slotInfo {
	info := slotInfo{CheckpointInfo: CheckpointInfo{Manifest: manifestName(slot)}}
	m, err := s.loadManifest(slot)
	if err != nil {
		info.Damage = err.Error()
	}
	if m == nil {
		return info
	}
	info.describe(m)
	r, err := s.load(m)
	if err != nil {
		info.Damage = err.Error()
		return info
	}
	info.manifest = m
	info.contents(r)
	return info
}

func (c *slotInfo) describe(m *manifest) {
	c.Version, c.Generation, c.Disk, c.NextSegment, c.LogFiles = m.version, uint32(m.generation), m.disk.String(), int(m.nextSegment), len(m.files)
	c.Hot, c.Cold = m.at.hot.info(), m.at.cold.info()
	c.State = &PartInfo{File: stateName(m.generation), Size: m.stateLength}
	for _, p := range m.parts {
		c.Parts = append(c.Parts, PartInfo{File: leavesName(p.part), Size: leavesSize(p.leaves), Leaves: p.leaves})
	}
}

func (p position) info() *CheckpointPlace {
	if p.file == 0 {
		return nil
	}
	return &CheckpointPlace{File: logName(p.file), Offset: p.page.bytes(), Batch: int(p.batch)}
}

// contents tells of the segments and of what is used of each part.
func (c *slotInfo) contents(r *restored) {
	used := make(map[string]int)
	for _, g := range r.segs {
		x := &g.mu.index
		seg := SavedSegment{
			Segment: g.id.String(), Number: int(g.idx), SCL: x.chain.SCL().String(), Floor: x.chain.Floor().String(), Promised: g.mu.promised,
			Damaged: g.mu.health.declared, Records: len(x.chain.Path()) + x.chain.Annulled() + x.chain.Pending(), Batch: int(g.mu.applied.batch),
		}
		for i := range x.base.slots {
			if at := x.base.slots[i].saved; at.part != 0 {
				seg.Leaves++
				used[leavesName(at.part)]++
			}
		}
		c.Segments = append(c.Segments, seg)
	}
	slices.SortFunc(c.Segments, func(a, b SavedSegment) int { return cmp.Compare(a.Number, b.Number) })
	for i := range c.Parts {
		c.Parts[i].Used = used[c.Parts[i].File]
	}
}

// decide says which of the checkpoints, newest first, opening begins with.
func decide(all []slotInfo, parts []logPart) (told []CheckpointInfo) {
	used, newest := false, true
	for _, c := range all {
		switch {
		case c.Damage != "":
			c.Why = "it is damaged"
		case c.manifest == nil:
			c.Why = "there is none"
		case used:
			c.Why = "a newer one is whole"
		case !newest && !tailWhole(parts, c.manifest.at):
			c.Why = "log files behind it are gone, which only the newer one can do without; it counts only if the log alone is damaged"
		default:
			c.Used, used, c.Why = true, true, "it is the newest that is whole"
		}
		newest = newest && c.Generation == 0
		told = append(told, c.CheckpointInfo)
	}
	return told
}
