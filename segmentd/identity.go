package segmentd

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"path"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// FolderFormat is the version of the layout of a data folder.
//
//	1  identity.json, log/; identity.room may be there or not
const FolderFormat = 1

const identityFile = "identity.json"

// Identity is what a data folder is, for ever but for Boot. It stands as JSON
// in identity.json, so that a person can read it.
type Identity struct {
	Format  uint32          `json:"format"`
	Cluster block.ClusterID `json:"-"`
	Node    block.NodeID    `json:"node"`
	Zone    block.Zone      `json:"zone"`
	Disk    block.DiskID    `json:"-"`
	Boot    block.Boot      `json:"boot"`

	ClusterText string `json:"cluster"` // empty until the first registration
	DiskText    string `json:"disk"`
}

// openFolder reads the identity of dir, or makes one for an empty dir. node
// may be empty: it is taken from the folder, or made from the disk id. Error
// kinds: Mismatch, Version, Corrupt, Invalid, Unavailable.
func openFolder(fsys vfs.FS, dir string, node block.NodeID, zone block.Zone) (Identity, error) {
	raw, err := readFile(fsys, path.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return newFolder(fsys, dir, node, zone)
	}
	if err != nil {
		return Identity{}, block.Wrap(block.Unavailable, err, "data folder %s: reading %s", dir, identityFile)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return Identity{}, block.Wrap(block.KindOf(err), err, "data folder %s", dir)
	}
	switch {
	case node != "" && node != id.Node:
		return Identity{}, block.Errorf(block.Mismatch, "data folder %s belongs to node %q, not %q: give the folder of this node, or leave --node out", dir, id.Node, node)
	case zone != id.Zone:
		return Identity{}, block.Errorf(block.Mismatch, "data folder %s belongs to a node of zone %q, not %q: a node stays in its zone; start an empty folder under another node id there", dir, id.Zone, zone)
	}
	return id, nil
}

func parseIdentity(raw []byte) (Identity, error) {
	var id Identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return Identity{}, block.Wrap(block.Corrupt, err, "%s is not understood; restore it from the log of the last start, or start with an empty folder", identityFile)
	}
	if id.Format > FolderFormat {
		return Identity{}, block.Errorf(block.Version, "format %d, this sextant knows up to %d: use a newer sextant", id.Format, FolderFormat)
	}
	var err error
	if id.Disk, err = block.ParseDiskID(id.DiskText); err != nil {
		return Identity{}, block.Wrap(block.Corrupt, err, "%s", identityFile)
	}
	if id.ClusterText != "" {
		if id.Cluster, err = block.ParseClusterID(id.ClusterText); err != nil {
			return Identity{}, block.Wrap(block.Corrupt, err, "%s", identityFile)
		}
	}
	if err := block.CheckName("node", string(id.Node)); err != nil {
		return Identity{}, block.Wrap(block.Corrupt, err, "%s", identityFile)
	}
	return id, nil
}

func newFolder(fsys vfs.FS, dir string, node block.NodeID, zone block.Zone) (Identity, error) {
	if err := block.CheckName("zone", string(zone)); err != nil {
		return Identity{}, err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return Identity{}, block.Wrap(block.Unavailable, err, "data folder %s", dir)
	}
	names, err := fsys.List(dir)
	if err != nil {
		return Identity{}, block.Wrap(block.Unavailable, err, "data folder %s", dir)
	}
	for _, n := range names {
		if n != lockFile && n != identityFile+".new" && n != roomFile && n != "lost+found" {
			return Identity{}, block.Errorf(block.Mismatch, "data folder %s holds %q but no %s: it is not a folder of sextant segment, or its identity was lost; give an empty folder", dir, n, identityFile)
		}
	}
	id := Identity{Format: FolderFormat, Node: node, Zone: zone}
	rand.Read(id.Disk[:])
	id.Disk[6], id.Disk[8] = id.Disk[6]&0x0f|0x40, id.Disk[8]&0x3f|0x80 // RFC 9562 §5.4
	if id.Node == "" {
		id.Node = block.NodeID("n-" + id.Disk.String()[:8])
	}
	if err := block.CheckName("node", string(id.Node)); err != nil {
		return Identity{}, err
	}
	return id, id.save(fsys, dir)
}

// save writes the identity durably, the old one or the new one surviving a
// crash whole.
func (id *Identity) save(fsys vfs.FS, dir string) error {
	id.DiskText, id.ClusterText = id.Disk.String(), ""
	if !id.Cluster.IsZero() {
		id.ClusterText = id.Cluster.String()
	}
	raw, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	name := path.Join(dir, identityFile)
	if err := writeWithRoom(fsys, dir, name+".new", append(raw, '\n')); err != nil {
		return saveFailed(dir, err)
	}
	if err := fsys.Rename(name+".new", name); err != nil {
		return saveFailed(dir, err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return saveFailed(dir, err)
	}
	keepRoom(fsys, dir)
	return nil
}

func saveFailed(dir string, err error) error {
	return block.Wrap(block.Unavailable, err, "data folder %s: writing %s", dir, identityFile)
}
