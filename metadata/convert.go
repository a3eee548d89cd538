package metadata

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// The functions named ToPB and FromPB translate between this package's types
// and what travels. FromPB checks only what the type itself demands (an id
// has 16 bytes, an enum a known value); rules are checked where they are
// kept. Error kind of all FromPB functions: Invalid.

// IDFromPB reads 16 raw bytes; none at all are the zero id.
func IDFromPB[T ~[16]byte](what string, b []byte) (T, error) {
	var id T
	switch len(b) {
	case 0:
		return id, nil
	case 16:
		return T(b), nil
	}
	return id, block.Errorf(block.Invalid, "%s id of %d bytes, not 16", what, len(b))
}

// IDToPB is the 16 bytes of id, or none for the zero id.
func IDToPB[T ~[16]byte](id T) []byte {
	if id == *new(T) {
		return nil
	}
	b := [16]byte(id)
	return b[:]
}

// timeToPB keeps the zero time as 0.
func timeToPB(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeFromPB(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func segmentRefToPB(r SegmentRef) *pb.SegmentRef {
	return &pb.SegmentRef{Volume: IDToPB(r.Volume), Pg: uint32(r.PG), Segment: IDToPB(r.Segment)}
}

func segmentRefFromPB(p *pb.SegmentRef) (r SegmentRef, err error) {
	if r.Volume, err = IDFromPB[block.VolumeID]("volume", p.GetVolume()); err != nil {
		return r, err
	}
	r.PG = block.PGIndex(p.GetPg())
	r.Segment, err = IDFromPB[block.SegmentID]("segment", p.GetSegment())
	return r, err
}

// SegmentRefsToPB translates a list.
func SegmentRefsToPB(refs []SegmentRef) []*pb.SegmentRef { return mapped(refs, segmentRefToPB) }

// SegmentRefsFromPB translates a list of at most limit.
func SegmentRefsFromPB(ps []*pb.SegmentRef, limit int) ([]SegmentRef, error) {
	if len(ps) > limit {
		return nil, block.Errorf(block.Invalid, "%d segments in one message, more than %d", len(ps), limit)
	}
	return tried(ps, segmentRefFromPB)
}

func mapped[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

func tried[A, B any](in []A, f func(A) (B, error)) ([]B, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		b, err := f(a)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}
