package vm

import (
	"fmt"
	"io"

	"github.com/sextantdisk/sextant/internal/block"
)

// cpioWriter writes an initramfs: an archive in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). Each entry is
//
//	offset  size  field
//	     0     6  "070701"
//	     6  13*8  hexadecimal: ino mode uid gid nlink mtime filesize
//	              devmajor devminor rdevmajor rdevminor namesize check
//	   110        name and a zero byte, padded with zeroes to 4
//	              data, padded with zeroes to 4
//
// and the last one is called TRAILER!!!. The kernel unpacks archives that
// stand one after the other.
type cpioWriter struct {
	w   io.Writer
	ino int
	err error
}

const (
	modeFolder = 0o040755
	modeFile   = 0o100755
	modeLink   = 0o120777
	trailer    = "TRAILER!!!"
)

func (c *cpioWriter) folder(name string)            { c.entry(name, modeFolder, nil) }
func (c *cpioWriter) file(name string, data []byte) { c.entry(name, modeFile, data) }
func (c *cpioWriter) link(name, target string)      { c.entry(name, modeLink, []byte(target)) }

// close writes the trailer and tells the first error of all.
func (c *cpioWriter) close() error {
	c.entry(trailer, 0, nil)
	if c.err != nil {
		return block.Wrap(block.Unavailable, c.err, "writing an initramfs")
	}
	return nil
}

func (c *cpioWriter) entry(name string, mode int, data []byte) {
	c.ino++
	c.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	const head = 110
	c.write([]byte(name + "\x00"))
	c.pad(head + len(name) + 1)
	c.write(data)
	c.pad(len(data))
}

func (c *cpioWriter) pad(length int) { c.write(make([]byte, -length&3)) }

func (c *cpioWriter) printf(format string, args ...any) { c.write(fmt.Appendf(nil, format, args...)) }

func (c *cpioWriter) write(p []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(p)
	}
}
