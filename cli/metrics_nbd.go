package cli

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
)

// nbdMetrics implements nbd.Metrics. What a request that succeeds counts in
// is looked up once, here, so that counting neither waits nor allocates.
type nbdMetrics struct {
	opened, closed, failed prometheus.Counter
	requests               *prometheus.CounterVec
	ops                    [nbd.OpBlockStatus + 1]opMetrics
}

type opMetrics struct {
	name  string
	ok    prometheus.Counter
	bytes prometheus.Counter
	took  prometheus.Observer
}

func newNBDMetrics(m metrics) *nbdMetrics {
	plain := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "sextant_" + name, Help: help})
		m.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sextant_" + name, Help: help}, labels)
		m.MustRegister(v)
		return v
	}
	n := &nbdMetrics{
		opened:   plain("nbd_connections_opened_total", "Connections that have opened an export."),
		closed:   plain("nbd_connections_closed_total", "Of these, those that have ended."),
		failed:   plain("nbd_handshakes_failed_total", "Connections that ended before they opened an export, without taking leave."),
		requests: vec("nbd_requests_total", "Requests that are complete, by command and result: ok, an NBD error, or severed with its connection.", "command", "result"),
	}
	bytes := vec("nbd_bytes_total", "Bytes that successful requests read, wrote, trimmed, zeroed or asked about.", "command")
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sextant_nbd_request_seconds", Help: "Time from when a request was read to when its reply was queued.", Buckets: latencyBuckets,
	}, []string{"command"})
	m.MustRegister(took)
	for op := range n.ops { // 0 is what the server does not know
		name := nbd.Op(op).String()
		n.ops[op] = opMetrics{name, n.requests.WithLabelValues(name, "ok"), bytes.WithLabelValues(name), took.WithLabelValues(name)}
	}
	return n
}

func (n *nbdMetrics) ConnOpened(string) { n.opened.Inc() }
func (n *nbdMetrics) ConnClosed(string) { n.closed.Inc() }
func (n *nbdMetrics) HandshakeFailed()  { n.failed.Inc() }

// RequestDone implements nbd.Metrics.
func (n *nbdMetrics) RequestDone(op nbd.Op, length block.ByteCount, took time.Duration, e nbd.Errno, severed bool) {
	if int(op) >= len(n.ops) {
		op = 0
	}
	o := &n.ops[op]
	o.took.Observe(took.Seconds())
	switch {
	case severed:
		n.requests.WithLabelValues(o.name, "severed").Inc()
	case e != nbd.OK:
		n.requests.WithLabelValues(o.name, strings.ToLower(e.String())).Inc()
	default:
		o.ok.Inc()
		o.bytes.Add(float64(length))
	}
}
