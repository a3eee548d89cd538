package cluster

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// A daemon that is started again listens where it did before. The kernel gives
// ports from 32768 on (Linux, ip_local_port_range) to whoever asks for any: also
// to connections, of which the other daemons make hundreds while this one is
// down. So daemons on loopback get ports below that.
const (
	firstPort = 20000
	lastPort  = 31999
	// portTries is how many ports are looked at until the kernel is asked
	// for any.
	portTries = 100
)

// given are the ports that daemons of this process have.
var given struct {
	mu    sync.Mutex
	ports map[int]bool
}

// freePort is an address on loopback that nobody listens on.
func freePort() string {
	given.mu.Lock()
	defer given.mu.Unlock()
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if given.ports[port] {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close() // nobody has connected
		if given.ports == nil {
			given.ports = make(map[int]bool)
		}
		given.ports[port] = true
		return addr
	}
	return AnyPort
}
