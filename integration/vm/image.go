package vm

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// tools are copied into the guest with the libraries that they need. busybox
// is its shell and everything else.
var tools = []string{
	"busybox", "nbd-client", "fio", "fstrim", "blkdiscard", "blockdev",
	"mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs",
}

// modules are loaded in the guest, with what they need. ext4 is built in.
var modules = []string{"virtio_pci", "virtio_net", "nbd", "libcrc32c", "xfs", "btrfs"}

// extraFiles are loaded by name at run time, or read as configuration.
var extraFiles = []string{"/lib/x86_64-linux-gnu/libgcc_s.so.1", "/etc/mke2fs.conf"}

//go:embed guest/init
var guestInit []byte

// searchPath is where tools are looked for: those for root too.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// image is what an initramfs is made of: host files by their place in it.
type image struct {
	files   map[string]string
	modules []string // relative to the kernel's module folder, in load order
	kernel  kernel
}

// plan finds all that goes into the guest. Error kind: NotFound, naming what
// lacks.
func plan(k kernel) (image, error) {
	im := image{files: map[string]string{}, kernel: k}
	for _, name := range tools {
		file, err := find(name)
		if err != nil {
			return image{}, err
		}
		im.files[path.Join("/tools", name)] = file
		libs, err := libraries(file)
		if err != nil {
			return image{}, err
		}
		for _, lib := range libs {
			im.files[lib] = lib
		}
	}
	for _, file := range extraFiles {
		im.files[file] = file
	}
	dep, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return image{}, block.Wrap(block.NotFound, err, "the kernel's modules")
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return image{}, block.Wrap(block.NotFound, err, "the kernel's modules")
	}
	im.modules, err = loadOrder(string(dep), string(builtin), modules)
	return im, err
}

func find(name string) (string, error) {
	for _, dir := range filepath.SplitList(searchPath) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", block.Errorf(block.NotFound, "the program %s is not installed: run scripts/deps", name)
}

// libraries asks the dynamic linker what a program needs.
func libraries(file string) ([]string, error) {
	out, err := exec.Command("ldd", file).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, block.Wrap(block.NotFound, err, "ldd %s: %s", file, out)
	}
	return parseLDD(string(out))
}

// parseLDD reads lines such as
//
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f...)
//	linux-vdso.so.1 (0x00007f...)
func parseLDD(out string) ([]string, error) {
	var libs []string
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "not found") {
			return nil, block.Errorf(block.NotFound, "a library lacks: %s", strings.TrimSpace(line))
		}
		for _, f := range strings.Fields(line) {
			if strings.HasPrefix(f, "/") {
				libs = append(libs, f)
				break
			}
		}
	}
	return libs, nil
}

// key names the image by the versions of all that is in it.
func (im image) key() (string, error) {
	h := sha256.New()
	add := func(name, file string) error {
		st, err := os.Stat(file)
		if err != nil {
			return block.Wrap(block.NotFound, err, "a file for the guest")
		}
		fmt.Fprintln(h, name, file, st.Size(), st.ModTime().UnixNano())
		return nil
	}
	for _, name := range sorted(im.files) {
		if err := add(name, im.files[name]); err != nil {
			return "", err
		}
	}
	for _, m := range im.modules {
		if err := add(m, filepath.Join(im.kernel.modules, m)); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(h, "%s %q", im.kernel.version, guestInit)
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// write makes the initramfs.
func (im image) write(w io.Writer) error {
	c := &cpioWriter{w: w}
	made := map[string]bool{"/": true}
	var mkdir func(dir string)
	mkdir = func(dir string) {
		if !made[dir] {
			mkdir(path.Dir(dir))
			made[dir] = true
			c.folder(dir[1:])
		}
	}
	put := func(name, file string) error {
		data, err := os.ReadFile(file)
		if err != nil {
			return block.Wrap(block.NotFound, err, "a file for the guest")
		}
		mkdir(path.Dir(name))
		c.file(name[1:], data)
		return nil
	}
	for _, dir := range []string{"/bin", "/proc", "/sys", "/dev", "/run", "/tmp", "/mnt", "/job", "/etc", "/var/run"} {
		mkdir(dir)
	}
	for _, name := range sorted(im.files) {
		if err := put(name, im.files[name]); err != nil {
			return err
		}
	}
	var list strings.Builder
	for _, m := range im.modules {
		name := path.Join("/modules", path.Base(m))
		if err := put(name, filepath.Join(im.kernel.modules, m)); err != nil {
			return err
		}
		fmt.Fprintln(&list, name)
	}
	c.file("modules/order", []byte(list.String()))
	c.file("init", guestInit)
	c.link("bin/sh", "/tools/busybox")
	c.link("etc/mtab", "/proc/mounts")
	return c.close()
}

// initramfs gives the file of the image, and makes it if it is not cached.
func (im image) initramfs(cache string) (string, error) {
	key, err := im.key()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "vm")
	file := filepath.Join(dir, "initramfs-"+key+".cpio")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", block.Wrap(block.Unavailable, err, "making the cache")
	}
	return file, writeNew(file, im.write)
}

// writeNew writes a file under another name and renames it, so that nobody
// ever sees a part of it.
func writeNew(file string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return block.Wrap(block.Unavailable, err, "making %s", file)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return block.Wrap(block.Unavailable, err, "writing %s", file)
	}
	if err := f.Close(); err != nil {
		return block.Wrap(block.Unavailable, err, "writing %s", file)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return block.Wrap(block.Unavailable, err, "keeping %s", file)
	}
	return nil
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
