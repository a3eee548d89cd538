package nbdtest

import (
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/sextantdisk/sextant/nbd"
)

// Running is a server on a TCP port and a Unix socket.
type Running struct {
	Server *nbd.Server
	Addr   string // HOST:PORT
	Socket string // path
}

// URI is the address of an export over TCP.
func (r *Running) URI(export string) string { return "nbd://" + r.Addr + "/" + export }

// SocketURI is the address of an export over the Unix socket.
func (r *Running) SocketURI(export string) string {
	return "nbd+unix:///" + export + "?socket=" + r.Socket
}

// Serve starts a server for the length of a test. Without cfg.Log it logs
// nothing.
func Serve(t testing.TB, cfg nbd.Config) *Running {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := nbd.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nbd.sock")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", path)
	if err != nil {
		tcp.Close()
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for _, l := range []net.Listener{tcp, unix} {
		go func() { done <- s.Serve(l) }()
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	})
	return &Running{Server: s, Addr: tcp.Addr().String(), Socket: path}
}
