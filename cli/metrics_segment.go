package cli

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd"
)

// logMetrics implements logstore.Observer: three atomic additions a flush.
type logMetrics struct {
	took, records, bytes prometheus.Histogram
}

func newLogMetrics(m metrics) *logMetrics {
	return &logMetrics{
		took:    m.histogram("log_flush_seconds", "Time from the write of a batch to the end of its fdatasync.", latencyBuckets),
		records: m.histogram("log_batch_records", "Records in a batch.", recordBuckets),
		bytes:   m.histogram("log_batch_bytes", "Bytes of a batch, headers included.", byteBuckets),
	}
}

// Flushed implements logstore.Observer.
func (l *logMetrics) Flushed(records int, n block.ByteCount, d time.Duration) {
	l.took.Observe(d.Seconds())
	l.records.Observe(float64(records))
	l.bytes.Observe(float64(n))
}

// Corrupt and Failed are counted where they happen, see segmentMetrics.
func (*logMetrics) Corrupt(logstore.Damage) {}

// Failed implements logstore.Observer.
func (*logMetrics) Failed(error) {}

// segmentMetrics shows the log's and the daemon's counters.
func segmentMetrics(m metrics, s *segmentd.Server) {
	stats := func(f func(logstore.Stats) float64) func() float64 {
		return func() float64 { return f(s.LogStats()) }
	}
	m.counter("log_batches_total", "Group commits: one flush each.", stats(func(st logstore.Stats) float64 { return float64(st.Batches) }))
	m.counter("log_records_total", "Records appended.", stats(func(st logstore.Stats) float64 { return float64(st.Records) }))
	m.counter("log_appended_bytes_total", "Bytes appended, headers included.", stats(func(st logstore.Stats) float64 { return float64(st.Bytes) }))
	m.gauge("log_bytes", "Bytes of all log files and spares, at their full lengths.", stats(func(st logstore.Stats) float64 { return float64(st.Size) }))
	m.gauge("log_files", "Log files.", stats(func(st logstore.Stats) float64 { return float64(st.Files) }))
	m.gauge("log_spare_files", "Zero-written files that wait for their turn.", stats(func(st logstore.Stats) float64 { return float64(st.Spares) }))
	m.gauge("log_damages", "Damaged places found in the log since the start.", stats(func(st logstore.Stats) float64 { return float64(st.Damages) }))
	m.gauge("log_queue_tickets", "Appends that wait for a leader to write them.", stats(func(st logstore.Stats) float64 { return float64(st.Queued) }))
	m.gauge("log_queue_bytes", "Payload of appends that wait or are being written.", stats(func(st logstore.Stats) float64 { return float64(st.QueuedBytes) }))
	m.gauge("log_failed", "1 if the log has ended because its disk failed.", func() float64 { return flag01(s.Failed() != nil) })
	m.gauge("segment_connections", "Gateways and peers that are connected.", func() float64 { return float64(s.Conns()) })
	n := s.Counters()
	m.counter("reads_total", "Reads served, or refused by the log.", func() float64 { return float64(n.Reads.Load()) })
	m.counter("refused_total", "Requests that were refused.", func() float64 { return float64(n.Refused.Load()) })
	m.counter("mended_blocks_total", "Damaged blocks written again.", func() float64 { return float64(n.Mended.Load()) })
	m.counter("caught_up_bytes_total", "Bytes fetched from peers.", func() float64 { return float64(n.CaughtUpBytes.Load()) })
	m.counter("corrupt_on_arrival_total", "Record frames that arrived damaged.", func() float64 { return float64(n.CorruptOnArrival.Load()) })
	m.MustRegister(reportCollector(s))
}

var (
	liveBytes       = newSeries(prometheus.GaugeValue, "live_bytes", "Data of the newest versions.")
	capacityBytes   = newSeries(prometheus.GaugeValue, "capacity_bytes", "What the disk may hold for this daemon.")
	hostedSegments  = newSeries(prometheus.GaugeValue, "segments", "Segments on this disk.")
	unwellSegments  = newSeries(prometheus.GaugeValue, "segments_unwell", "Segments that are not simply healthy: damaged, catching-up, bad-blocks, disk-failed.", "state")
	badBlocks       = newSeries(prometheus.GaugeValue, "bad_blocks", "Blocks known to be damaged and not yet mended.")
	unwellStates    = []string{"damaged", "catching-up", "bad-blocks", "disk-failed"}
	reportAllSeries = []series{liveBytes, capacityBytes, hostedSegments, unwellSegments, badBlocks}
)

// reportCollector shows what a heartbeat tells.
func reportCollector(s *segmentd.Server) collector {
	return collector{all: reportAllSeries, read: func(ch chan<- prometheus.Metric) {
		r := s.Report()
		liveBytes.emit(ch, float64(r.Live))
		capacityBytes.emit(ch, float64(r.Capacity))
		hostedSegments.emit(ch, float64(s.Hosted()))
		states, bad := map[string]int{}, 0
		for _, g := range r.Segments {
			states[g.State]++
			bad += g.BadBlocks
		}
		for _, state := range unwellStates {
			unwellSegments.emit(ch, float64(states[state]), state)
		}
		badBlocks.emit(ch, float64(bad))
	}}
}
