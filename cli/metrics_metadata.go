package cli

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/raftnode"
)

var (
	metadataLeader  = newSeries(prometheus.GaugeValue, "metadata_leader", "1 if this member leads.")
	metadataServing = newSeries(prometheus.GaugeValue, "metadata_serving", "1 if it leads and has prepared its term.")
	metadataCommit  = newSeries(prometheus.GaugeValue, "metadata_commit_index", "The last log entry known to be agreed.")
	metadataApplied = newSeries(prometheus.GaugeValue, "metadata_applied_index", "The last log entry that this member has applied.")
	metadataVoters  = newSeries(prometheus.GaugeValue, "metadata_voters", "Voting members of the metadata service.")
	metadataNodes   = newSeries(prometheus.GaugeValue, "metadata_nodes", "Segment daemons by state: active, draining, removed.", "state")
	metadataUp      = newSeries(prometheus.GaugeValue, "metadata_nodes_up", "Segment daemons that are heard; 0 unless this member leads.")
	metadataVolumes = newSeries(prometheus.GaugeValue, "metadata_volumes", "Volumes by state: closed, recovering, open, deleting.", "state")
	metadataGroups  = newSeries(prometheus.GaugeValue, "metadata_groups", "Protection groups that are placed.")
)

// metadataMetrics shows a member of the metadata service.
func metadataMetrics(m metrics, n *raftnode.Node) {
	m.MustRegister(collector{
		all: []series{
			metadataLeader, metadataServing, metadataCommit, metadataApplied, metadataVoters, metadataNodes, metadataUp,
			metadataVolumes, metadataGroups,
		},
		read: func(ch chan<- prometheus.Metric) { readMetadata(ch, n.Stats()) },
	})
}

func readMetadata(ch chan<- prometheus.Metric, st raftnode.Stats) {
	metadataLeader.emit(ch, flag01(st.Leads))
	metadataServing.emit(ch, flag01(st.Serves))
	metadataCommit.emit(ch, float64(st.Commit))
	metadataApplied.emit(ch, float64(st.Applied))
	metadataVoters.emit(ch, float64(st.Voters))
	nodes, up := map[string]int{metadata.NodeActive.String(): 0, metadata.NodeDraining.String(): 0}, 0
	for i := range st.Nodes {
		nodes[st.Nodes[i].State.String()]++
		if st.Leads && st.Nodes[i].Up {
			up++
		}
	}
	for state, n := range nodes {
		metadataNodes.emit(ch, float64(n), state)
	}
	metadataUp.emit(ch, float64(up))
	volumes, groups := map[string]int{"deleting": 0}, 0
	for _, s := range []metadata.OpenState{metadata.Closed, metadata.Recovering, metadata.Open} {
		volumes[s.String()] = 0
	}
	for i := range st.Volumes {
		v := &st.Volumes[i]
		groups += v.PGs
		if v.Deleting {
			volumes["deleting"]++
		} else {
			volumes[v.State.String()]++
		}
	}
	for state, n := range volumes {
		metadataVolumes.emit(ch, float64(n), state)
	}
	metadataGroups.emit(ch, float64(groups))
}
