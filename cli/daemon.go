package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/nbd"
)

// shutdownTimeout bounds how long a daemon takes to end in good order.
const shutdownTimeout = 10 * time.Second

// Bounds of the health pages. A profile takes 30 s unless told otherwise.
const (
	headerTimeout  = 5 * time.Second
	pageTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// daemon is what all daemons have: a log, metrics, health pages.
type daemon struct {
	c       *cli.Context
	log     *slog.Logger
	metrics metrics
	gather  prometheus.Gatherer
	ready   atomic.Bool
	// check tells why the daemon is not well, or nil; nil before there is
	// anything to check.
	check atomic.Pointer[func() error]
	http  *http.Server
	addr  string // of http, or empty
}

// newDaemon makes the common parts and begins to serve the health pages if
// --http is given.
func newDaemon(c *cli.Context) (*daemon, error) {
	log, err := logger(c)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	d := &daemon{c: c, log: log, metrics: metrics{registry}, gather: registry}
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.String("http") == "" {
		return d, nil
	}
	ln, err := net.Listen("tcp", c.String("http"))
	if err != nil {
		return nil, nameFlag(c, block.Wrap(block.Unavailable, err, "--http %s", c.String("http")), "http")
	}
	d.addr = ln.Addr().String()
	d.http = &http.Server{
		Handler: d.pages(), ReadHeaderTimeout: headerTimeout, WriteTimeout: pageTimeout, IdleTimeout: pageTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	log.Info("health pages are served", "http", d.addr)
	go func() {
		if err := d.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("health pages ended", "err", err)
		}
	}()
	return d, nil
}

func (d *daemon) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.gather, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.unwell()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := d.unwell()
		if err == nil && !d.ready.Load() {
			err = block.Errorf(block.Unavailable, "starting or stopping")
		}
		answer(w, err)
	})
	if d.c.Bool("pprof") {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// requestMetrics counts NBD requests; nil if nobody can see the counts.
func (d *daemon) requestMetrics() nbd.Metrics {
	if d.http == nil {
		return nil
	}
	return newNBDMetrics(d.metrics)
}

// flushMetrics counts flushes for m; nil if nobody can see the counts.
func (d *daemon) flushMetrics(m metrics) logstore.Observer {
	if d.http == nil {
		return nil
	}
	return newLogMetrics(m)
}

// wellIf says how to find out whether the daemon is well.
func (d *daemon) wellIf(check func() error) { d.check.Store(&check) }

// unwell is why the daemon is not well, or nil.
func (d *daemon) unwell() error {
	if check := d.check.Load(); check != nil {
		return (*check)()
	}
	return nil
}

// announce prints the line that says that the daemon serves, with key=value
// pairs; empty values are left out.
func (d *daemon) announce(pairs ...string) {
	d.ready.Store(true)
	if d.addr != "" {
		pairs = append(pairs, "http", d.addr)
	}
	line := []string{"ready"}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			line = append(line, pairs[i]+"="+pairs[i+1])
		}
	}
	fmt.Fprintln(d.c.App.Writer, strings.Join(line, " "))
}

// close ends the health pages.
func (d *daemon) close() {
	d.ready.Store(false)
	if d.http != nil {
		_ = d.http.Close()
	}
}

// until waits for the end of ctx, which is asked for, or for a failure. From
// then on the daemon is not ready.
func (d *daemon) until(ctx context.Context, failed <-chan struct{}, why func() error) error {
	defer d.ready.Store(false)
	select {
	case <-ctx.Done():
		return nil
	case <-failed:
		return why()
	}
}
