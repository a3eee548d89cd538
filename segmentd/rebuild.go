package segmentd

import (
	"path"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// RebuildIndex makes the index of a stopped daemon's log anew from the log alone,
// and writes it as a checkpoint; it registers nowhere and serves nothing. Of cfg it
// needs Dir, FS and Store. Error kinds: those of Start, and Corrupt where the log
// is damaged: then nothing is changed.
func RebuildIndex(cfg Config) (sum logstore.Rebuilt, err error) {
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockFile))
	if err != nil {
		return sum, block.Wrap(block.Unavailable, err, "data folder %s cannot be locked: is it one, and is its sextant segment stopped?", cfg.Dir)
	}
	defer lock.Close()
	raw, err := readFile(cfg.FS, path.Join(cfg.Dir, identityFile))
	if err != nil {
		return sum, block.Wrap(block.Unavailable, err, "data folder %s: reading %s", cfg.Dir, identityFile)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return sum, block.Wrap(block.KindOf(err), err, "data folder %s", cfg.Dir)
	}
	return logstore.Rebuild(cfg.FS, path.Join(cfg.Dir, logFolder), id.Disk, cfg.Store)
}
