package raftnode

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// A member that meets an entry of a newer version stops: going on without it
// would part it from the others. It keeps its log, so that a newer program
// can go on from there.
func TestNewerEntryStopsTheMember(t *testing.T) {
	n, c := lone(t, nil)
	create(t, c, "v", block.MiB)
	n.raft.Apply([]byte{0x08, 0x63}, 0) // version 99
	select {
	case <-n.Failed():
	case <-within(t).Done():
		t.Fatal("it goes on")
	}
	if err := n.Err(); !errors.Is(err, block.Version) {
		t.Fatal(err)
	}
	if err := n.Ready(); !errors.Is(err, block.Version) {
		t.Fatalf("ready: %v", err)
	}
	if err := n.AwaitReady(within(t)); !errors.Is(err, block.Version) {
		t.Fatalf("waiting to be ready: %v", err)
	}
	if _, err := n.fsm.Snapshot(); err == nil {
		t.Fatal("a broken state was snapshotted")
	}
	if r, _ := n.fsm.Apply(&raft.Log{Index: 1 << 40}).(applied); !errors.Is(r.Err, block.Closed) {
		t.Fatalf("a broken state took a command: %v", r.Err)
	}
	eventually(t, "raft has stopped", func() bool { return n.raft.State() == raft.Shutdown })
}

// sinkBuffer is a raft.SnapshotSink in memory.
type sinkBuffer struct {
	bytes.Buffer
	fail     error
	canceled bool
}

func (s *sinkBuffer) Write(p []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(p)
}
func (s *sinkBuffer) Close() error  { return nil }
func (s *sinkBuffer) ID() string    { return "test" }
func (s *sinkBuffer) Cancel() error { s.canceled = true; return nil }

func TestSnapshotRoundTrip(t *testing.T) {
	f := newFSM(clock.Real(), func(err error) { t.Error(err) })
	for i, c := range []*pb.Command{
		{Body: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{Cluster: bytes.Repeat([]byte{1}, 16)}}},
		upsertMember(metadata.Member{ID: "m1", Address: "127.0.0.1:1", RaftAddress: "127.0.0.1:2", Instance: metadata.Instance{1}}),
	} {
		entry, err := state.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if r := f.Apply(&raft.Log{Index: uint64(i + 1), Data: entry}).(applied); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink := &sinkBuffer{}
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	g := newFSM(clock.Real(), func(err error) { t.Error(err) })
	if err := g.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
		t.Fatal(err)
	}
	g.view(func(st *state.State) {
		if st.Applied() != 2 || len(st.Members()) != 1 {
			t.Errorf("restored: applied %d, members %v", st.Applied(), st.Members())
		}
	})
	for i := range sink.Len() {
		spoiled := bytes.Clone(sink.Bytes())
		spoiled[i] ^= 0x10
		if err := g.Restore(io.NopCloser(bytes.NewReader(spoiled))); err == nil {
			g.view(func(st *state.State) {
				if st.Applied() != 2 || len(st.Members()) != 1 {
					t.Errorf("byte %d flipped: restored something else", i)
				}
			})
		}
	}
	full := &sinkBuffer{fail: block.NoSpace}
	if err := s.Persist(full); !errors.Is(err, block.NoSpace) || !full.canceled {
		t.Fatalf("a full disk: %v, canceled %v", err, full.canceled)
	}
}
