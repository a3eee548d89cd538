package cli

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sextantdisk/sextant/volume"
	"github.com/sextantdisk/sextant/volume/pg"
)

// maxSegmentSeries bounds the segments of a gateway that have series of their
// own, those of the first groups; the sums are of all.
const maxSegmentSeries = 6 * 512

var (
	volumeReads    = newSeries(prometheus.CounterValue, "volume_reads_total", "Pieces read from segments since the volume was opened.", "volume")
	volumeHedged   = newSeries(prometheus.CounterValue, "volume_hedged_reads_total", "Pieces asked of another copy because the first was late.", "volume")
	volumeCorrupt  = newSeries(prometheus.CounterValue, "volume_corrupt_reads_total", "Answers that told of a damaged copy; another one was read.", "volume")
	volumeMended   = newSeries(prometheus.CounterValue, "volume_mended_blocks_total", "Blocks sent back to a damaged copy.", "volume")
	volumePending  = newSeries(prometheus.GaugeValue, "volume_pending_bytes", "Bytes of operations that are admitted and not done.", "volume")
	volumeEpoch    = newSeries(prometheus.GaugeValue, "volume_epoch", "The epoch under which this gateway writes.", "volume")
	volumeSize     = newSeries(prometheus.GaugeValue, "volume_size_bytes", "The volume's size.", "volume")
	volumePhases   = newSeries(prometheus.GaugeValue, "volume_groups", "Placed protection groups by phase: idle, fencing, opening, open.", "volume", "phase")
	volumeHeld     = newSeries(prometheus.GaugeValue, "volume_groups_held", "Open groups of which fewer segments than a write quorum take records: their writes wait.", "volume")
	volumeStates   = newSeries(prometheus.GaugeValue, "volume_segments", "Segments by state: unreachable, joining, streaming, lagging, catching-up, refusing, full.", "volume", "state")
	volumeMaxLag   = newSeries(prometheus.GaugeValue, "volume_lag_max_bytes", "The most that a segment lacks of what was issued.", "volume")
	segmentLag     = newSeries(prometheus.GaugeValue, "quorum_lag_bytes", "Bytes of records that a segment has not acknowledged; only the first 512 groups of a gateway.", "volume", "pg", "segment", "node")
	segmentRecords = newSeries(prometheus.GaugeValue, "quorum_lag_records", "Records that a segment has not acknowledged; only the first 512 groups of a gateway.", "volume", "pg", "segment", "node")
	segmentState   = newSeries(prometheus.GaugeValue, "quorum_segment_state", "0 unreachable, 1 joining, 2 streaming, 3 lagging, 4 catching up, 5 refusing, 6 full; only the first 512 groups of a gateway.", "volume", "pg", "segment", "node")
)

// volumeCollector looks at all open volumes when the metrics are read.
func volumeCollector(open func() []*volume.Volume) collector {
	return collector{
		all: []series{
			volumeReads, volumeHedged, volumeCorrupt, volumeMended, volumePending, volumeEpoch, volumeSize, volumePhases,
			volumeHeld, volumeStates, volumeMaxLag, segmentLag, segmentRecords, segmentState,
		},
		read: func(ch chan<- prometheus.Metric) {
			room := maxSegmentSeries
			for _, v := range open() {
				room = readVolume(ch, v, room)
			}
		},
	}
}

// readVolume reads one volume, of its segments at most room one by one, and
// gives the room that is left.
func readVolume(ch chan<- prometheus.Metric, v *volume.Volume, room int) int {
	name, n := v.Info().Name, v.Counters()
	volumeReads.emit(ch, float64(n.Reads.Load()), name)
	volumeHedged.emit(ch, float64(n.Hedged.Load()), name)
	volumeCorrupt.emit(ch, float64(n.CorruptReads.Load()), name)
	volumeMended.emit(ch, float64(n.Mended.Load()), name)
	volumePending.emit(ch, float64(v.PendingBytes()), name)
	volumeEpoch.emit(ch, float64(v.Epoch()), name)
	volumeSize.emit(ch, float64(v.Size()), name)
	phases, states := map[pg.Phase]int{}, map[pg.State]int{}
	held, maxLag := 0, 0.0
	v.Health(func(g *volume.GroupHealth) {
		phases[g.Phase]++
		if g.Held {
			held++
		}
		for i := range g.Segments {
			s := &g.Segments[i]
			states[s.State]++
			maxLag = max(maxLag, float64(s.Lag))
			if room == 0 {
				continue
			}
			room--
			labels := []string{name, strconv.FormatUint(uint64(g.PG), 10), s.ID.String(), string(s.Node)}
			segmentLag.emit(ch, float64(s.Lag), labels...)
			segmentRecords.emit(ch, float64(s.LagRecords), labels...)
			segmentState.emit(ch, float64(s.State), labels...)
		}
	})
	for p := pg.Idle; p <= pg.Open; p++ {
		volumePhases.emit(ch, float64(phases[p]), name, p.String())
	}
	for s := pg.Unreachable; s <= pg.Full; s++ {
		volumeStates.emit(ch, float64(states[s]), name, s.String())
	}
	volumeHeld.emit(ch, float64(held), name)
	volumeMaxLag.emit(ch, maxLag, name)
	return room
}

// gatewayMetrics shows a running gateway.
func gatewayMetrics(m metrics, g *gateway) {
	sum := func(f func(*volume.Volume) float64) func() float64 {
		return func() (total float64) {
			for _, v := range g.manager.Volumes() {
				total += f(v)
			}
			return total
		}
	}
	m.gauge("volumes_open", "Volumes open in this gateway.", sum(func(*volume.Volume) float64 { return 1 }))
	m.gauge("segments_unhealthy", "Segments of open volumes that are not streaming and complete.",
		sum(func(v *volume.Volume) float64 { return float64(len(v.Unhealthy())) }))
	m.gauge("nbd_connections", "Connections, those in their handshake among them.", func() float64 { return float64(g.server.Stats().Conns) })
	m.gauge("nbd_handshakes", "Connections that have not opened an export.", func() float64 { return float64(g.server.Stats().Handshakes) })
	m.gauge("nbd_in_flight_bytes", "Memory lent to requests in flight.", func() float64 { return float64(g.server.Stats().InFlight) })
	m.MustRegister(volumeCollector(g.manager.Volumes))
}
