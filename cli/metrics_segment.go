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

// segmentMetrics shows the log's and the daemon's counters. The log is asked
// once for all its figures, the daemon for its report.
func segmentMetrics(m metrics, s *segmentd.Server) {
	m.MustRegister(logCollector(s), reportCollector(s))
	m.gauge("log_failed", "1 if the log has ended because its disk failed.", func() float64 { return flag01(s.Failed() != nil) })
	m.gauge("segment_connections", "Gateways and peers that are connected.", func() float64 { return float64(s.Conns()) })
	n := s.Counters()
	m.counter("reads_total", "Reads served, or refused by the log.", func() float64 { return float64(n.Reads.Load()) })
	m.counter("refused_total", "Requests that were refused.", func() float64 { return float64(n.Refused.Load()) })
	m.counter("mended_blocks_total", "Damaged blocks written again.", func() float64 { return float64(n.Mended.Load()) })
	m.counter("caught_up_bytes_total", "Bytes fetched from peers in records.", func() float64 { return float64(n.CaughtUpBytes.Load()) })
	m.counter("hydrated_bytes_total", "Bytes taken from peers in leaves.", func() float64 { return float64(n.HydratedBytes.Load()) })
	m.counter("given_bytes_total", "Bytes given to peers, in records and leaves.", func() float64 { return float64(n.GivenBytes.Load()) })
	m.counter("corrupt_on_arrival_total", "Record frames that arrived damaged.", func() float64 { return float64(n.CorruptOnArrival.Load()) })
}

// figure is a series and where its value comes from.
type figure[T any] struct {
	series
	of func(*T) float64
}

// figures collects series that come from one look at something; more, if not
// nil, shows what has labels.
func figures[T any](look func() T, all []figure[T], more func(ch chan<- prometheus.Metric, now *T)) collector {
	c := collector{read: func(ch chan<- prometheus.Metric) {
		now := look()
		for _, f := range all {
			f.emit(ch, f.of(&now))
		}
		if more != nil {
			more(ch, &now)
		}
	}}
	for _, f := range all {
		c.all = append(c.all, f.series)
	}
	return c
}

func logCounter(name, help string, of func(*logstore.Stats) float64) figure[logstore.Stats] {
	return figure[logstore.Stats]{newSeries(prometheus.CounterValue, name, help), of}
}

func logGauge(name, help string, of func(*logstore.Stats) float64) figure[logstore.Stats] {
	return figure[logstore.Stats]{newSeries(prometheus.GaugeValue, name, help), of}
}

var logFigures = []figure[logstore.Stats]{
	logCounter("log_batches_total", "Group commits: one flush each.", func(st *logstore.Stats) float64 { return float64(st.Batches) }),
	logCounter("log_records_total", "Records appended.", func(st *logstore.Stats) float64 { return float64(st.Records) }),
	logCounter("log_appended_bytes_total", "Bytes appended, headers included.", func(st *logstore.Stats) float64 { return float64(st.Bytes) }),
	logCounter("log_client_bytes_total", "Payload of the changes appended.", func(st *logstore.Stats) float64 { return float64(st.ClientBytes) }),
	logCounter("log_cold_bytes_total", "Bytes that cleaning wrote, headers included.", func(st *logstore.Stats) float64 { return float64(st.ColdBytes) }),
	logCounter("log_checkpoint_bytes_total", "Bytes written to checkpoints.", func(st *logstore.Stats) float64 { return float64(st.CheckpointBytes) }),
	logCounter("log_zeroed_bytes_total", "Bytes zero-written in advance.", func(st *logstore.Stats) float64 { return float64(st.ZeroedBytes) }),
	logCounter("log_cleaned_bytes_total", "Length of the log files that cleaning has emptied.", func(st *logstore.Stats) float64 { return float64(st.CleanedBytes) }),
	logCounter("log_recycled_files_total", "Log files that were emptied and used again, or removed.", func(st *logstore.Stats) float64 { return float64(st.Recycled) }),
	logCounter("log_stalls_total", "Flushes that took 100 ms or longer.", func(st *logstore.Stats) float64 { return float64(st.Stalls) }),
	logGauge("log_longest_flush_seconds", "The longest flush since the start.", func(st *logstore.Stats) float64 { return st.LongestFlush.Seconds() }),
	logGauge("log_bytes", "Bytes of all log files and spares, at their full lengths.", func(st *logstore.Stats) float64 { return float64(st.Size) }),
	logGauge("log_files", "Log files.", func(st *logstore.Stats) float64 { return float64(st.Files) }),
	logGauge("log_spare_files", "Cleaned files that wait to be used again.", func(st *logstore.Stats) float64 { return float64(st.Spares) }),
	logGauge("log_damages", "Damaged places found in the log since the start, mended or not.", func(st *logstore.Stats) float64 { return float64(st.Damages) }),
	logGauge("log_queue_tickets", "Appends that wait for a leader to write them.", func(st *logstore.Stats) float64 { return float64(st.Queued) }),
	logGauge("log_queue_bytes", "Payload of appends that wait or are being written.", func(st *logstore.Stats) float64 { return float64(st.QueuedBytes) }),
}

func logCollector(s *segmentd.Server) collector { return figures(s.LogStats, logFigures, nil) }

func reportGauge(name, help string, of func(*segmentd.Report) float64) figure[segmentd.Report] {
	return figure[segmentd.Report]{newSeries(prometheus.GaugeValue, name, help), of}
}

func reportCounter(name, help string, of func(*segmentd.Report) float64) figure[segmentd.Report] {
	return figure[segmentd.Report]{newSeries(prometheus.CounterValue, name, help), of}
}

var reportFigures = []figure[segmentd.Report]{
	reportGauge("capacity_bytes", "What the disk may hold for this daemon.", func(r *segmentd.Report) float64 { return float64(r.Capacity) }),
	reportGauge("live_bytes", "Blocks that can still be read.", func(r *segmentd.Report) float64 { return float64(r.Space.Live) }),
	reportGauge("dead_bytes", "What was written and counts no more, headers included; cleaning gives it back.", func(r *segmentd.Report) float64 { return float64(r.Space.Dead) }),
	reportGauge("reserved_bytes", "Kept for the cleaner and for records without payload.", func(r *segmentd.Report) float64 { return float64(r.Space.Reserved) }),
	reportGauge("free_bytes", "What can be written without cleaning.", func(r *segmentd.Report) float64 { return float64(r.Space.Free) }),
	reportGauge("space_level", "0 room for all, 1 no new segments, 2 nearly full, 3 full: no more data is taken.", func(r *segmentd.Report) float64 { return float64(r.Space.Level) }),
	reportGauge("index_blocks", "Blocks of data that the index in memory knows.", func(r *segmentd.Report) float64 { return float64(r.IndexBlocks) }),
	reportGauge("index_bytes", "Memory of the index: 12 bytes for each 4 KiB of what was written.", func(r *segmentd.Report) float64 { return float64(r.IndexBytes) }),
	reportGauge("segments", "Segments on this disk.", func(r *segmentd.Report) float64 { return float64(r.Hosted) }),
	reportGauge("bad_blocks", "Blocks known to be damaged and not yet mended.", badBlocks),
	reportGauge("unmended_damages", "Damaged places that are not mended yet: blocks, headers of batches, segments whose log has lost a part.", func(r *segmentd.Report) float64 { return float64(r.Unmended) }),
	reportGauge("hydration_left_bytes", "An estimate of what is still to come in leaves.", func(r *segmentd.Report) float64 { p, _ := r.Pulls(); return float64(p.Left) }),
	reportGauge("pull_bytes_per_second", "What segments take from their peers now.", func(r *segmentd.Report) float64 { p, _ := r.Pulls(); return float64(p.Rate) }),
	reportGauge("scrub_running", "1 while a pass over all data is under way.", func(r *segmentd.Report) float64 { return flag01(r.Scrub.Running) }),
	reportGauge("scrub_done_bytes", "What the pass under way has read, or the last one read.", func(r *segmentd.Report) float64 { return float64(r.Scrub.Done) }),
	reportGauge("scrub_left_bytes", "What the pass under way is still to read.", func(r *segmentd.Report) float64 { return float64(r.Scrub.Left) }),
	reportGauge("scrub_ended_timestamp_seconds", "When the last pass ended, in Unix time; 0: never.", func(r *segmentd.Report) float64 { return unix(r.Scrub.Ended) }),
	reportCounter("scrub_found_total", "Damaged places that passes have found, in all lives of this folder.", func(r *segmentd.Report) float64 { return float64(r.Scrub.Found) }),
	reportCounter("scrub_passes_total", "Passes that came to an end, in all lives of this folder.", func(r *segmentd.Report) float64 { return float64(r.Scrub.Passes) }),
}

// unix is a time in seconds; 0 stands for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

func badBlocks(r *segmentd.Report) float64 {
	n := 0
	for i := range r.Segments {
		n += r.Segments[i].BadBlocks
	}
	return float64(n)
}

var (
	unwellSegments = newSeries(prometheus.GaugeValue, "segments_unwell", "Segments that are not simply healthy: damaged, hydrating, catching-up, bad-blocks, disk-failed.", "state")
	unwellStates   = []string{"damaged", "hydrating", "catching-up", "bad-blocks", "disk-failed"}
)

// reportCollector shows what a heartbeat tells.
func reportCollector(s *segmentd.Server) collector {
	c := figures(s.Report, reportFigures, func(ch chan<- prometheus.Metric, r *segmentd.Report) {
		states := map[string]int{}
		for i := range r.Segments {
			states[r.Segments[i].State]++
		}
		for _, state := range unwellStates {
			unwellSegments.emit(ch, float64(states[state]), state)
		}
	})
	c.all = append(c.all, unwellSegments)
	return c
}
