package logstore

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

func manifestName(slot int) string         { return fileName(manifestPrefix, uint32(slot)) }
func stateName(g generation) string        { return fileName(statePrefix, uint32(g)) }
func leavesName(g generation) string       { return fileName(leavesPrefix, uint32(g)) }
func (m *manifest) needs(name string) bool { return slices.Contains(m.names(), name) }

// names are the files that m is made of, but its own.
func (m *manifest) names() []string {
	names := []string{stateName(m.generation)}
	for _, p := range m.parts {
		names = append(names, leavesName(p.part))
	}
	return names
}

// take writes a checkpoint of all that is applied now, and makes it the one in
// force. It is durable on return. What was being written when the power goes
// is not named by a manifest, and so does not exist; the two checkpoints
// before it stay whole until then. Error kinds: NoSpace (nothing has
// happened), Unavailable; errStopped.
func (c *checkpointer) take(stop <-chan struct{}) error {
	c.taking.Lock()
	defer c.taking.Unlock()
	g := c.begin()
	s := c.store
	logged := s.stats.bytes.Load()
	was := s.cfg.Clock.Now()
	shot := s.capture(partsToRewrite(c.parts))
	m, parts, err := c.write(g, shot, stop)
	if err != nil {
		c.discard(g)
	} else {
		err = c.writeManifest(m)
	}
	if err != nil {
		shot.abandon()
		return err
	}
	shot.commit()
	c.logged, c.parts = logged, parts
	c.manifests[c.slot] = m
	c.slot = 1 - c.slot
	s.cfg.Logger.Debug("checkpoint", "disk", s.disk, "generation", uint32(g), "leaves", len(shot.frozen),
		"state", m.stateLength, "parts", len(parts), "took", s.cfg.Clock.Now().Sub(was))
	c.end(m)
	return c.sweep()
}

// write makes the contents durable, and the manifest that is to name them. From
// when that is being written on, only a sweep removes them: it may be whole on
// the disk, though nobody was told so.
func (c *checkpointer) write(g generation, shot *capture, stop <-chan struct{}) (*manifest, []partLive, error) {
	if err := c.writeLeaves(g, shot, stop); err != nil {
		return nil, nil, err
	}
	state := encodeState(shot.files, shot.segs)
	if err := c.writeFile(stateName(g), vfs.Create, state); err != nil {
		return nil, nil, err
	}
	m := &manifest{
		disk: c.store.disk, generation: g, stateLength: block.ByteCount(len(state)), stateSum: block.Checksum(state),
		nextSegment: shot.next, at: shot.at,
	}
	for i := range shot.files {
		m.files = append(m.files, shot.files[i].seq)
	}
	slices.Sort(m.files)
	parts := liveParts(append(slices.Clip(c.parts), partLive{partUse: partUse{g, len(shot.frozen)}}), shot.segs)
	for _, p := range parts {
		m.parts = append(m.parts, p.partUse)
	}
	if err := c.syncDir(); err != nil {
		return nil, nil, err
	}
	if mutant.On(mutant.CheckpointInParts) {
		c.store.mu.Lock()
		m.at = c.store.mu.applied
		c.store.mu.Unlock()
	}
	return m, parts, nil
}

// writeLeaves writes the frozen leaves and thaws them. It leaves the disk to
// others now and then.
func (c *checkpointer) writeLeaves(g generation, shot *capture, stop <-chan struct{}) error {
	if len(shot.frozen) == 0 {
		return nil
	}
	name := leavesName(g)
	r := c.store.filer
	return r.edit(name, vfs.Create|r.mode, func(w vfs.File) error {
		if err := c.writeChunks(w, name, g, shot, stop); err != nil {
			return err
		}
		return diskError(w.SyncMeta(), "syncing", name)
	})
}

func (c *checkpointer) writeChunks(w vfs.File, name string, g generation, shot *capture, stop <-chan struct{}) error {
	buf := slab.Get(leavesPerWrite * leafSize)
	defer buf.Release()
	rest := restBetween(len(shot.frozen))
	for done := 0; done < len(shot.frozen); {
		n := min(leavesPerWrite, len(shot.frozen)-done)
		p := buf.Bytes()[:leavesSize(n)]
		clear(p[n*leafSize:])
		for i := range n {
			f := &shot.frozen[done+i]
			f.at = savedLeaf{part: g, at: uint32(done + i), sum: f.leaf.encode(p[i*leafSize : (i+1)*leafSize])}
			f.to.leaf = f.at
		}
		if err := w.WritevAt([][]byte{p}, vfs.Offset(done)*leafSize); err != nil {
			return diskError(err, "writing", name)
		}
		done += n
		shot.thaw(done)
		c.wrote(len(p))
		if done < len(shot.frozen) && !c.rest(rest, stop) {
			return errStopped
		}
	}
	return nil
}

// writeFile writes a file from its start, and syncs it.
func (c *checkpointer) writeFile(name string, mode vfs.Mode, p []byte) error {
	r := c.store.filer
	return r.edit(name, mode, func(w vfs.File) error {
		c.wrote(len(p))
		if err := w.WritevAt([][]byte{p}, 0); err != nil {
			return diskError(err, "writing", name)
		}
		return diskError(w.SyncMeta(), "syncing", name)
	})
}

// wrote counts what was written for a checkpoint.
func (c *checkpointer) wrote(n int) { c.store.stats.checkpoint.Add(uint64(n)) }

// writeManifest writes over the older of the two manifests.
func (c *checkpointer) writeManifest(m *manifest) error {
	name := manifestName(c.slot)
	mode := vfs.Mode(0)
	_, err := c.store.fs.Stat(c.store.file(name))
	made := errors.Is(err, fs.ErrNotExist)
	if made {
		mode = vfs.Create
	}
	c.manifests[c.slot] = nil
	if err := c.writeFile(name, mode, m.encode()); err != nil || !made {
		return err
	}
	return c.syncDir()
}

func (c *checkpointer) syncDir() error {
	return diskError(c.store.fs.SyncDir(c.store.dir), "syncing", c.store.dir)
}

// sweep removes what no manifest names.
func (c *checkpointer) sweep() error {
	names, err := c.store.fs.List(c.store.dir)
	if err != nil {
		return diskError(err, "listing", c.store.dir)
	}
	for _, name := range names {
		if !isContents(name) || slices.ContainsFunc(c.manifests[:], func(m *manifest) bool { return m != nil && m.needs(name) }) {
			continue
		}
		if err := c.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file of a checkpoint, if it is there.
func (c *checkpointer) remove(name string) error {
	err := c.store.fs.Remove(c.store.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return diskError(err, "removing", name)
}

// isContents tells the files that manifests name.
func isContents(name string) bool {
	_, state := parseName(statePrefix, name)
	_, leaves := parseName(leavesPrefix, name)
	return state || leaves
}

// discard removes what a checkpoint that failed has written; what it leaves
// behind is removed by the next one.
func (c *checkpointer) discard(g generation) {
	for _, name := range []string{stateName(g), leavesName(g)} {
		_ = c.remove(name)
	}
}
