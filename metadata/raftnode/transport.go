package raftnode

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is Raft's, with a door in front of heartbeats: Raft handles those
// on the connections' own goroutines, which its Shutdown does not wait for, and
// panics when one of them wants to write down a new term in a closed store.
type transport struct {
	*raft.NetworkTransport

	door   sync.RWMutex // held for reading by each heartbeat under way
	closed bool         // guarded by door
}

// SetHeartbeatHandler is called by Raft, once.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(t.guard(handle))
}

// guard is handle behind the door.
func (t *transport) guard(handle func(raft.RPC)) func(raft.RPC) {
	return func(rpc raft.RPC) {
		t.door.RLock()
		defer t.door.RUnlock()
		if t.closed {
			rpc.Respond(nil, raft.ErrRaftShutdown)
			return
		}
		handle(rpc)
	}
}

// shut returns when no heartbeat is under way and none will be.
func (t *transport) shut() {
	t.door.Lock()
	defer t.door.Unlock()
	t.closed = true
}
