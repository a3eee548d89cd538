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
)

// shutdownTimeout bounds how long a daemon takes to end in good order.
const shutdownTimeout = 10 * time.Second

// daemon is what all daemons have: a log, metrics, health pages.
type daemon struct {
	c       *cli.Context
	log     *slog.Logger
	metrics *prometheus.Registry
	ready   atomic.Bool
	// healthy tells why the daemon is not well, or nil.
	healthy func() error
	http    *http.Server
	addr    string // of http, or empty
}

// newDaemon makes the common parts and begins to serve the health pages if
// --http is given.
func newDaemon(c *cli.Context) (*daemon, error) {
	log, err := logger(c)
	if err != nil {
		return nil, err
	}
	d := &daemon{c: c, log: log, metrics: prometheus.NewRegistry(), healthy: func() error { return nil }}
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.String("http") == "" {
		return d, nil
	}
	ln, err := net.Listen("tcp", c.String("http"))
	if err != nil {
		return nil, nameFlag(c, block.Wrap(block.Unavailable, err, "--http %s", c.String("http")), "http")
	}
	d.addr = ln.Addr().String()
	d.http = &http.Server{Handler: d.pages(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := d.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("health pages ended", "err", err)
		}
	}()
	return d, nil
}

func (d *daemon) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.healthy()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := d.healthy()
		if err == nil && !d.ready.Load() {
			err = block.Errorf(block.Unavailable, "starting")
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

// gauge shows a value that is asked for when the metrics are read.
func (d *daemon) gauge(name, help string, value func() float64) {
	d.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sextant_" + name, Help: help}, value))
}

// counter shows a count that is asked for when the metrics are read.
func (d *daemon) counter(name, help string, value func() float64) {
	d.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sextant_" + name, Help: help}, value))
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

// until waits for the end of ctx, which is asked for, or for a failure.
func until(ctx context.Context, failed <-chan struct{}, why func() error) error {
	select {
	case <-ctx.Done():
		return nil
	case <-failed:
		return why()
	}
}
