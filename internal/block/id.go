package block

import (
	"encoding/hex"
	"fmt"
	"regexp"
)

// id128 is the 16 byte shape that cluster, volume, segment and disk ids
// share: an RFC 9562 UUID. The zero value means "none" and is never issued.
type id128 [16]byte

func (id id128) string() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
	return string(b[:])
}

func parseID(what, s string) (id id128, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, Errorf(Invalid, "%s id %q is not a UUID (8-4-4-4-12 hex digits)", what, s)
	}
	packed := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(packed)); err != nil {
		return id128{}, Errorf(Invalid, "%s id %q is not a UUID (8-4-4-4-12 hex digits)", what, s)
	}
	return id, nil
}

// ClusterID names one Sextant cluster. It is made once, at bootstrap.
type ClusterID id128

// VolumeID names a volume for ever; a name may be given again, an id not.
type VolumeID id128

// SegmentID names one segment: one copy of one protection group. A copy that
// is made anew on an empty disk is a new segment with a new id (rule R28).
type SegmentID id128

// DiskID names one formatted data folder of a segment daemon.
type DiskID id128

func (id ClusterID) String() string { return id128(id).string() }
func (id VolumeID) String() string  { return id128(id).string() }
func (id SegmentID) String() string { return id128(id).string() }
func (id DiskID) String() string    { return id128(id).string() }

// IsZero reports whether the id is the "none" value.
func (id ClusterID) IsZero() bool { return id == ClusterID{} }

// IsZero reports whether the id is the "none" value.
func (id VolumeID) IsZero() bool { return id == VolumeID{} }

// IsZero reports whether the id is the "none" value.
func (id SegmentID) IsZero() bool { return id == SegmentID{} }

// IsZero reports whether the id is the "none" value.
func (id DiskID) IsZero() bool { return id == DiskID{} }

// ParseClusterID reads the form that String prints. Error kind: Invalid.
func ParseClusterID(s string) (ClusterID, error) {
	id, err := parseID("cluster", s)
	return ClusterID(id), err
}

// ParseVolumeID reads the form that String prints. Error kind: Invalid.
func ParseVolumeID(s string) (VolumeID, error) {
	id, err := parseID("volume", s)
	return VolumeID(id), err
}

// ParseSegmentID reads the form that String prints. Error kind: Invalid.
func ParseSegmentID(s string) (SegmentID, error) {
	id, err := parseID("segment", s)
	return SegmentID(id), err
}

// ParseDiskID reads the form that String prints. Error kind: Invalid.
func ParseDiskID(s string) (DiskID, error) {
	id, err := parseID("disk", s)
	return DiskID(id), err
}

// NodeID names a segment daemon. It is chosen by the operator or made from
// the disk id, and stays with the data folder.
type NodeID string

// Zone names an availability zone: what fails together.
type Zone string

// namePattern is the form of node ids, zones and volume names: a letter or
// digit, then up to 62 letters, digits, dots, dashes and underscores.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName says whether s may name a node, a zone or a volume; what is put
// into the message. Error kind: Invalid.
func CheckName(what, s string) error {
	if namePattern.MatchString(s) {
		return nil
	}
	return Errorf(Invalid, "%s name %q is not valid: 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", what, s)
}

// Boot counts the starts of a segment daemon on one data folder. It is
// written to the folder before the daemon registers, and the metadata
// service refuses a folder whose count is not above the last one seen: an
// old copy of a disk cannot come back under its old id (rule R28).
type Boot uint64

// PGIndex is the number of a protection group in its volume, from 0.
type PGIndex uint32

func (i PGIndex) String() string { return fmt.Sprintf("%d", uint32(i)) }
