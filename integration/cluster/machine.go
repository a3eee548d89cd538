package cluster

import (
	"net"
	"os/exec"
	"runtime"
)

// Machine is where a daemon runs. Its zero value is this one, on loopback.
type Machine struct {
	// Host is the address that the daemon listens on; empty: loopback.
	Host string
	// Enter brings a thread to the machine, before it starts the daemon. The
	// thread ends with the daemon.
	Enter func() error
}

func (o Options) machine(role string, i int) Machine {
	if o.Machine == nil {
		return Machine{}
	}
	return o.Machine(role, i)
}

// anyPort is where a daemon on the machine is told to listen at first.
func (m Machine) anyPort() string {
	if m.Host == "" {
		return freePort()
	}
	return net.JoinHostPort(m.Host, "0")
}

// start starts a process on the machine, from a goroutine that has locked its
// thread and ends without unlocking it.
func (m Machine) start(cmd *exec.Cmd) error {
	if m.Enter != nil {
		if err := m.Enter(); err != nil {
			return err
		}
	}
	return cmd.Start()
}

// run runs a process on the machine to its end.
func (m Machine) run(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		started <- m.start(cmd)
	}()
	if err := <-started; err != nil {
		return err
	}
	return cmd.Wait()
}
