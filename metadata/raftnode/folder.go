package raftnode

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// folderFormat is the version of the data folder's layout.
//
//	1: identity.json, lock, raft.db (raft-boltdb), snapshots/
const folderFormat = 1

const (
	identityFile = "identity.json"
	lockFile     = "lock"
	logFile      = "raft.db"
	folderKind   = "sextant metadata"
	// identityMax bounds identity.json.
	identityMax = 64 << 10
)

// identity says whose folder it is. It is written before anything else and
// makes a folder that was moved, copied or mixed up known for what it is.
type identity struct {
	Kind     string            `json:"kind"`
	Format   uint32            `json:"format"`
	Cluster  string            `json:"cluster"`
	Member   metadata.MemberID `json:"member"`
	Instance string            `json:"instance"`
	// RaftAddress is where this member listened last, so that port 0 can
	// mean the same port again.
	RaftAddress string `json:"raft_address,omitempty"`
	// Started: the Raft log has been made. If it is missing from then on,
	// it was lost, and the member must not begin anew as if it never voted.
	Started bool `json:"started"`
	// Bootstrapped: this folder began the cluster, rather than joined it.
	Bootstrapped bool `json:"bootstrapped"`

	cluster  block.ClusterID
	instance metadata.Instance
}

// folder is a member's data folder, locked for this process.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder makes and locks the folder. Error kind: Held: another process
// uses it.
func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, block.Wrap(block.Invalid, err, "metadata folder %s cannot be made", dir)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, block.Wrap(block.Invalid, err, "metadata folder %s cannot be used", dir)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, block.Wrap(block.Held, err, "metadata folder %s is in use by another process: stop it first", dir)
	}
	return &folder{dir: dir, lock: f}, nil
}

// close lets another process have the folder.
func (d *folder) close() error { return d.lock.Close() }

func (d *folder) path(name string) string { return filepath.Join(d.dir, name) }

// read is the folder's identity; found is false in a new folder. Error kinds:
// Version; Mismatch: it is another member's, or no metadata folder; Corrupt.
func (d *folder) read(member metadata.MemberID) (id identity, found bool, err error) {
	b, err := os.ReadFile(d.path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(d.path(logFile)); err == nil {
			return id, false, block.Errorf(block.Corrupt, "metadata folder %s has a Raft log but no %s: restore the file from a backup of the folder", d.dir, identityFile)
		}
		return id, false, nil
	}
	if err != nil {
		return id, false, block.Wrap(block.Corrupt, err, "metadata folder %s", d.dir)
	}
	if len(b) > identityMax || json.Unmarshal(b, &id) != nil {
		return id, false, block.Errorf(block.Corrupt, "metadata folder %s: %s of %d bytes is not what Sextant writes", d.dir, identityFile, len(b))
	}
	return id, true, id.check(d.dir, member)
}

func (id *identity) check(dir string, member metadata.MemberID) error {
	switch {
	case id.Kind != folderKind:
		return block.Errorf(block.Mismatch, "folder %s is of kind %q, not %q: give each daemon a folder of its own", dir, id.Kind, folderKind)
	case id.Format > folderFormat:
		return block.Errorf(block.Version, "metadata folder %s has format %d, this program knows up to %d: install a newer Sextant", dir, id.Format, folderFormat)
	case id.Format == 0:
		return block.Errorf(block.Corrupt, "metadata folder %s has no format in %s", dir, identityFile)
	case id.Member != member:
		return block.Errorf(block.Mismatch, "metadata folder %s belongs to member %s, not %s: start it with that --id, or give another folder", dir, id.Member, member)
	}
	var err error
	if id.cluster, err = block.ParseClusterID(id.Cluster); err != nil || id.cluster.IsZero() {
		return block.Errorf(block.Corrupt, "metadata folder %s: cluster id %q in %s", dir, id.Cluster, identityFile)
	}
	if n, err := hex.Decode(id.instance[:], []byte(id.Instance)); len(id.Instance) != 32 || err != nil || n != 16 {
		return block.Errorf(block.Corrupt, "metadata folder %s: instance %q in %s", dir, id.Instance, identityFile)
	}
	return nil
}

func newIdentity(cluster block.ClusterID, member metadata.MemberID) identity {
	instance := metadata.NewInstance()
	return identity{
		Kind: folderKind, Format: folderFormat, Cluster: cluster.String(), Member: member,
		Instance: hex.EncodeToString(instance[:]), cluster: cluster, instance: instance,
	}
}

// write replaces the identity. When it returns nil, the new one is on disk;
// after a crash there is the old or the new one.
func (d *folder) write(id identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return block.Wrap(block.Invalid, err, "metadata folder %s", d.dir)
	}
	temp := d.path(identityFile + ".new")
	if err := writeSynced(temp, append(b, '\n')); err != nil {
		return block.Wrap(block.NoSpace, err, "metadata folder %s", d.dir)
	}
	if err := os.Rename(temp, d.path(identityFile)); err != nil {
		return block.Wrap(block.NoSpace, err, "metadata folder %s", d.dir)
	}
	return d.sync()
}

// sync makes the folder's entries durable.
func (d *folder) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return block.Wrap(block.Corrupt, err, "metadata folder %s", d.dir)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return block.Wrap(block.Corrupt, err, "metadata folder %s", d.dir)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
