package block

import "hash/crc32"

// Sum is the CRC32C (Castagnoli, RFC 3720 §B.4) of one 4 KiB block or of a
// header. The gateway makes it when a write arrives and checks it before
// bytes go back to the client (rule B3).
type Sum uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C of p.
func Checksum(p []byte) Sum { return Sum(crc32.Checksum(p, castagnoli)) }

// Extend is the CRC32C of what s was taken of, followed by p.
func (s Sum) Extend(p []byte) Sum { return Sum(crc32.Update(uint32(s), castagnoli, p)) }
