package detector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
)

// metrics shows a detector to Prometheus. Everything is computed when it is
// scraped, from the published status and epoch, so that one scrape never mixes
// two epochs.
type metrics struct {
	d    *Detector
	topK topK
}

// desc declares a metric of this component.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flowhound_detector_"+name, help, labels, nil)
}

// Metrics of the log.
var (
	descPosition   = desc("log_position", "Sequence number of the last message that took effect, by stream of the log.", "stream")
	descLag        = desc("log_lag_messages", "Messages that the log holds beyond the detector's position, by stream of the log.", "stream")
	descLogErrors  = desc("log_errors_total", "Failed reads and writes of the log; each is tried again.")
	descGaps       = desc("log_gap_batches_total", "Batches that a commit covers and the log did not hold.")
	descBatches    = desc("batches_total", "Batches applied to the graph.")
	descContacts   = desc("contacts_total", "Contacts passed to the graph, both halves counted.")
	descLate       = desc("late_contacts_total", "Contacts of a slice that was closed already, counted into the open slice.")
	descCommits    = desc("commits_total", "Commits of collectors that took effect.")
	descCloses     = desc("closes_total", "Slices closed.")
	descConflicts  = desc("close_conflicts_total", "Closes that another detector had written first.")
	descBatchDrops = desc("batch_drops_total", "Batches not applied, by reason.", "reason")
	descCtlDrops   = desc("control_drops_total", "Control messages without effect, by reason.", "reason")
	descDrops      = desc("contact_drops_total", "Contacts or directions of contacts not in the graph, by reason.", "reason")
	descPending    = desc("pending_bytes", "Bytes of batches that no commit covers yet.")
	descHeld       = desc("held_batches", "Batches with contacts that wait until their slice is open.")
	descCollectors = desc("collectors", "Collectors that a slice waits for, and those left out until they catch up, by state.", "state")
	descIncomplete = desc("window_incomplete", "Whether the window lacks contacts that the log no longer held: 1 or 0.")
)

// Metrics of the graph and of the snapshots.
var (
	descHosts         = desc("hosts", "Hosts with at least one link in the window.")
	descLinks         = desc("links", "Directed links in the window.")
	descGraphBytes    = desc("graph_bytes", "Memory of the graph's store.")
	descEpochBytes    = desc("epoch_bytes", "Memory of what the last epoch shows: frozen graph, ranks and scores. While the next one is computed there are two, and its scratch.")
	descExpired       = desc("expired_links_total", "Directed links forgotten because the window moved on.")
	descSnapshots     = desc("snapshots_total", "Snapshots written.")
	descSnapshotFails = desc("snapshot_errors_total", "Snapshots that could not be written.")
	descSnapshotBytes = desc("snapshot_bytes", "Size of the newest snapshot written since the start.")
	descSnapshotTime  = desc("snapshot_duration_seconds", "Time that the newest snapshot took to write.")
	descSnapshotLoad  = desc("snapshot_load_duration_seconds", "Time that the snapshot took to load at the start.")
	descEventErrors   = desc("event_errors_total", "Failed writes of the events file or of the list of suspects.")
)

// Metrics of the last epoch.
var (
	descEpochs      = desc("epochs_total", "Epochs published.")
	descEpochTime   = desc("epoch_timestamp_seconds", "End of the slice of the last epoch, in Unix time.")
	descEpochTook   = desc("epoch_duration_seconds", "Time that the last epoch took, by stage.", "stage")
	descSupersteps  = desc("supersteps", "Supersteps of the last epoch, or passes over the links if its ranks start from the epoch before, by weight of the rank.", "weight")
	descDelta       = desc("rank_delta", "Sum of all changes in the last superstep of the last epoch, or what bounds the error likewise, by weight of the rank.", "weight")
	descFull        = desc("epoch_full", "Whether the ranks of the last epoch start from nothing: 1 or 0.")
	descDistance    = desc("rank_distance", "Sum of all differences between ranks from nothing and incremental ones of the same slice, when last compared, by weight of the rank.", "weight")
	descBound       = desc("rank_distance_bound", "What rank_distance can be by the proven errors of both, by weight of the rank.", "weight")
	descDisagree    = desc("rank_disagreements_total", "Comparisons in which rank_distance exceeded its bound.")
	descSum         = desc("rank_sum", "Sum of all ranks in the last epoch, 1 but for rounding, by rank.", "rank")
	descSeeds       = desc("seeds", "Known bots within the window of the last epoch.")
	descSuspects    = desc("suspects", "Suspects of the last epoch.")
	descLeftOut     = desc("suspects_left_out", "Hosts that stood out in the last epoch beyond the alarm budget.")
	descClusters    = desc("clusters", "Clusters of linked suspects in the last epoch.")
	descLargest     = desc("largest_cluster_hosts", "Hosts of the largest cluster in the last epoch.")
	descScoreHosts  = desc("score_hosts", "Hosts of the last epoch with at most this score.", "at_most")
	descTopScore    = desc("suspect_score", "Score of the strongest suspects, by pseudonym.", "host")
	descTopTruncate = desc("suspect_score_truncated", "Suspects of the last epoch that suspect_score does not show.")
)

func newMetrics(d *Detector) *metrics { return &metrics{d: d, topK: topK{k: d.cfg.TopK}} }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descPosition, descLag, descLogErrors, descGaps, descBatches, descContacts, descLate, descCommits,
		descCloses, descConflicts, descBatchDrops, descCtlDrops, descDrops, descPending, descHeld,
		descCollectors, descIncomplete, descHosts, descLinks, descGraphBytes, descEpochBytes, descExpired, descSnapshots,
		descSnapshotFails, descSnapshotBytes, descSnapshotTime, descSnapshotLoad, descEventErrors, descEpochs,
		descEpochTime, descEpochTook, descSupersteps, descDelta, descFull, descDistance,
		descBound, descDisagree, descSum, descSeeds, descSuspects, descLeftOut,
		descClusters, descLargest, descScoreHosts, descTopScore, descTopTruncate,
	} {
		out <- d
	}
}

// emitter sends constant metrics.
type emitter chan<- prometheus.Metric

func (out emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (out emitter) counter(d *prometheus.Desc, v uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	out, s := emitter(ch), m.d.status.Load()
	m.collectLog(out, s)
	m.collectState(out, s)
	out.counter(descEpochs, m.d.epochs.Load())
	e := m.d.epoch.Load()
	if e == nil {
		e = &epoch{scoreHistogram: make([]uint64, len(scoreBounds)+1)}
	}
	m.collectEpoch(out, e)
	m.topK.collect(out, e)
}

func (m *metrics) collectLog(out emitter, s *status) {
	out.gauge(descPosition, float64(s.Control), streamName(fromControl))
	out.gauge(descLag, float64(s.ControlLag), streamName(fromControl))
	for i := range s.Streams {
		out.gauge(descPosition, float64(s.Streams[i]), streamName(i))
		out.gauge(descLag, float64(s.Lag[i]), streamName(i))
	}
	in := s.Ingest
	out.counter(descLogErrors, m.d.logErrors.Load())
	out.counter(descGaps, in.Gaps)
	out.counter(descBatches, in.Batches)
	out.counter(descContacts, in.Contacts)
	out.counter(descLate, in.Late)
	out.counter(descCommits, in.Commits)
	out.counter(descCloses, in.Closes)
	out.counter(descConflicts, m.d.conflicts.Load())
	out.counter(descBatchDrops, in.Duplicates, "duplicate")
	out.counter(descBatchDrops, in.Superseded, "superseded")
	out.counter(descBatchDrops, in.BadBatches, "unreadable")
	out.counter(descCtlDrops, in.BadControl, "unreadable")
	out.counter(descCtlDrops, in.StaleControl, "stale")
	out.counter(descDrops, in.Future, "future")
	for r := range graph.Reasons {
		out.counter(descDrops, s.Graph.Drops[r], r.String())
	}
	out.gauge(descPending, float64(in.PendingBytes))
	out.gauge(descHeld, float64(in.HeldBatches))
	out.gauge(descCollectors, float64(s.Live), "live")
	out.gauge(descCollectors, float64(s.Skipped), "left_out")
	out.gauge(descIncomplete, oneIf(s.WindowIncomplete))
}

func (m *metrics) collectState(out emitter, s *status) {
	snap := &m.d.snapshots
	out.gauge(descHosts, float64(s.Graph.Hosts))
	out.gauge(descLinks, float64(s.Graph.Links))
	out.gauge(descGraphBytes, float64(s.Graph.Bytes))
	out.counter(descExpired, s.Graph.Expired)
	out.counter(descSnapshots, snap.written.Load())
	out.counter(descSnapshotFails, snap.failed.Load())
	out.gauge(descSnapshotBytes, float64(snap.bytes.Load()))
	out.gauge(descSnapshotTime, time.Duration(snap.duration.Load()).Seconds())
	out.gauge(descSnapshotLoad, time.Duration(snap.loaded.Load()).Seconds())
	out.counter(descEventErrors, m.d.eventErrors.Load())
}

// collectEpoch shows an epoch; one without a view stands for none yet.
func (m *metrics) collectEpoch(out emitter, e *epoch) {
	end := 0.0
	if e.view != nil {
		end = float64(m.d.cfg.end(e.slice).UnixMilli()) / 1000
	}
	out.gauge(descEpochTime, end)
	out.gauge(descEpochBytes, float64(e.bytes()))
	for _, stage := range stages {
		out.gauge(descEpochTook, e.took[stage].Seconds(), stage)
	}
	m.collectRanks(out, e)
	out.gauge(descSum, e.clientSum, "client")
	out.gauge(descSum, e.serverSum, "server")
	out.gauge(descSeeds, float64(len(e.seeds)))
	out.gauge(descSuspects, float64(len(e.verdict.Suspects)))
	out.gauge(descLeftOut, float64(e.verdict.LeftOut))
	out.gauge(descClusters, float64(len(e.verdict.Clusters)))
	largest := 0
	if len(e.verdict.Clusters) > 0 {
		largest = e.verdict.Clusters[0].Hosts
	}
	out.gauge(descLargest, float64(largest))
	hosts := uint64(0)
	for i, n := range e.scoreHistogram {
		hosts += n
		out.gauge(descScoreHosts, float64(hosts), scoreLabel(i))
	}
}

func (m *metrics) collectRanks(out emitter, e *epoch) {
	out.gauge(descFull, oneIf(e.full))
	for weight, r := range [...]rank.Result{uniform: e.ranks, fromSeeds: e.seeded} {
		out.gauge(descSupersteps, float64(r.Supersteps), weights[weight])
		out.gauge(descDelta, r.Delta, weights[weight])
		c := m.d.checks[weight].Load()
		if c == nil {
			c = new(check)
		}
		out.gauge(descDistance, c.distance, weights[weight])
		out.gauge(descBound, c.bound, weights[weight])
	}
	out.counter(descDisagree, m.d.disagreements.Load())
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
