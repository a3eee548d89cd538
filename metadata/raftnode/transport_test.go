package raftnode

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestNoHeartbeatAfterTheDoorIsShut: shut waits for the heartbeat that is under
// way, and those that come later are answered without Raft.
func TestNoHeartbeatAfterTheDoorIsShut(t *testing.T) {
	tr := &transport{}
	entered, leave := make(chan struct{}), make(chan struct{})
	handled := 0
	handle := func(raft.RPC) {
		handled++
		close(entered)
		<-leave
	}
	guarded := tr.guard(handle)
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		guarded(raft.RPC{})
	}()
	<-entered
	shut := make(chan struct{})
	go func() {
		tr.shut()
		close(shut)
	}()
	select {
	case <-shut:
		t.Fatal("the door was shut while a heartbeat was under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	<-shut
	all.Wait()
	answers := make(chan raft.RPCResponse, 1)
	guarded(raft.RPC{RespChan: answers})
	if a := <-answers; a.Error == nil || handled != 1 {
		t.Fatalf("answer %+v, %d heartbeats were handled", a, handled)
	}
}
