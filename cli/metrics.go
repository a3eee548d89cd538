package cli

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Buckets of histograms. Latencies go from 25 µs, a write to fast disks, to
// 52 s, a write that was held.
var (
	latencyBuckets = prometheus.ExponentialBuckets(25e-6, 2, 22)
	recordBuckets  = prometheus.ExponentialBuckets(1, 2, 11)
	byteBuckets    = prometheus.ExponentialBuckets(4096, 2, 13)
)

// metrics is where a part's metrics go. All that does not sit on a data path
// is asked for when it is scraped.
type metrics struct{ prometheus.Registerer }

// of is m with a label for one of several parts in this process.
func (m metrics) of(label, value string) metrics {
	return metrics{prometheus.WrapRegistererWith(prometheus.Labels{label: value}, m.Registerer)}
}

// gauge shows a value that is asked for when the metrics are read.
func (m metrics) gauge(name, help string, value func() float64) {
	m.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sextant_" + name, Help: help}, value))
}

// counter shows a count that is asked for when the metrics are read.
func (m metrics) counter(name, help string, value func() float64) {
	m.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sextant_" + name, Help: help}, value))
}

// histogram is fed by its part.
func (m metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sextant_" + name, Help: help, Buckets: buckets})
	m.MustRegister(h)
	return h
}

// series is a metric whose label values are known only when it is read.
type series struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newSeries(kind prometheus.ValueType, name, help string, labels ...string) series {
	return series{prometheus.NewDesc("sextant_"+name, help, labels, nil), kind}
}

func (s series) emit(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(s.desc, s.kind, value, labels...)
}

// collector reads several series in one go.
type collector struct {
	all  []series
	read func(ch chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.all {
		ch <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) { c.read(ch) }

func flag01(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
