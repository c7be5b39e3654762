package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/listen"
)

// metrics reads the collector's counts when it is scraped; nothing on the path
// of a datagram touches Prometheus. Conservation laws can be checked from
// outside:
//
//	datagrams = decoded + Σ dropped{reason}
//	records = Σ filtered{reason} + contact records
//	contact records = committed + dropped with their flush + pending
//	2 · contacts = committed halves + withheld halves + 2 · (dropped + queued)
type metrics struct {
	c       *Collector
	publish prometheus.Histogram
	series  []series
	sockets []socketSeries
	named   []namedSeries
}

// series is a metric with one value, or one per value of a label.
type series struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // values of the label, nil for no label
	value  func(s *snapshot, label int) float64
}

// socketSeries is a metric per listening port, which is the label's value.
type socketSeries struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	merge func(sum float64, s listen.SocketStats) float64
}

// namedSeries is a metric per configured exporter; those without a name share
// one.
type namedSeries struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	merge func(sum float64, e decode.Exporter) float64
}

// snapshot is what one scrape reads.
type snapshot struct {
	decode  []decode.Stats
	workers []workerStats
	flushed flushCounts
	publish publishCounts
	status  Status
	// templateErrors are those of the template file.
	templateErrors [len(templateFileOps)]uint64
	dedupEvicted   uint64
	lag            float64 // seconds since the end of the ended slice
}

func name(s string) string { return prometheus.BuildFQName("flowhound", "collector", s) }

func newMetrics(c *Collector) *metrics {
	m := &metrics{c: c, publish: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    name("publish_duration_seconds"),
		Help:    "Time from a flush's first batch to its commit.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})}
	m.datagrams()
	m.records()
	m.flushes()
	m.templates()
	m.state()
	m.perSocket()
	m.perExporter()
	return m
}

func (m *metrics) took(d time.Duration) { m.publish.Observe(d.Seconds()) }

// counter adds a counter without a label.
func (m *metrics) counter(n, help string, value func(s *snapshot) uint64) {
	m.series = append(m.series, series{prometheus.NewDesc(name(n), help, nil, nil), prometheus.CounterValue, nil,
		func(s *snapshot, _ int) float64 { return float64(value(s)) }})
}

// counters adds a counter with a label of fixed values.
func (m *metrics) counters(n, help, label string, values []string, value func(s *snapshot, i int) uint64) {
	m.series = append(m.series, series{prometheus.NewDesc(name(n), help, []string{label}, nil), prometheus.CounterValue, values,
		func(s *snapshot, i int) float64 { return float64(value(s, i)) }})
}

func (m *metrics) gauge(n, help string, value func(s *snapshot) float64) {
	m.series = append(m.series, series{prometheus.NewDesc(name(n), help, nil, nil), prometheus.GaugeValue, nil,
		func(s *snapshot, _ int) float64 { return value(s) }})
}

// decoded sums a count over the decoders, counted one over the workers.
func decoded(f func(*decode.Stats) uint64) func(*snapshot) uint64 {
	return func(s *snapshot) (sum uint64) {
		for i := range s.decode {
			sum += f(&s.decode[i])
		}
		return sum
	}
}

func counted(f func(*workerStats) uint64) func(*snapshot) uint64 {
	return func(s *snapshot) (sum uint64) {
		for i := range s.workers {
			sum += f(&s.workers[i])
		}
		return sum
	}
}

func (m *metrics) datagrams() {
	m.counter("datagrams_total", "Datagrams received, messages of TCP and TLS sessions and from Kafka included.",
		counted(func(w *workerStats) uint64 { return w.counts.received }))
	m.counter("datagrams_decoded_total", "Datagrams with a header that could be read.",
		decoded(func(d *decode.Stats) uint64 { return d.Accepted }))
	reasons := []string{"exporter"}
	for r := range decode.DatagramReasons {
		reasons = append(reasons, r.String())
	}
	m.counters("datagrams_dropped_total", "Datagrams dropped as a whole, by reason; exporter is one that is not configured.",
		"reason", reasons, func(s *snapshot, i int) uint64 {
			if i == 0 {
				return counted(func(w *workerStats) uint64 { return w.counts.refused })(s)
			}
			return decoded(func(d *decode.Stats) uint64 { return d.Drops[i-1] })(s)
		})
	reasons = nil
	for r := decode.DatagramReasons; r < decode.Reasons; r++ {
		reasons = append(reasons, r.String())
	}
	m.counters("decode_drops_total", "Parts of datagrams that could not be used, by reason.", "reason", reasons,
		func(s *snapshot, i int) uint64 {
			return decoded(func(d *decode.Stats) uint64 { return d.Drops[int(decode.DatagramReasons)+i] })(s)
		})
	m.counter("sequence_lost_total", "Estimate of records or datagrams that exporters sent and that never arrived.",
		decoded(func(d *decode.Stats) uint64 { return d.Lost }))
	m.counter("sequence_reordered_total", "Datagrams that arrived behind later ones.",
		decoded(func(d *decode.Stats) uint64 { return d.Reordered }))
	m.counter("sequence_duplicates_total", "Datagrams that arrived twice.",
		decoded(func(d *decode.Stats) uint64 { return d.Duplicates }))
	m.counter("sequence_resets_total", "Sequence numbers that started anew.",
		decoded(func(d *decode.Stats) uint64 { return d.Resets }))
	m.counter("sequence_forks_total", "Returns to a sequence that another one had left: forged packets, or two exporters behind one address.",
		decoded(func(d *decode.Stats) uint64 { return d.Forks }))
}

func (m *metrics) records() {
	m.counter("records_total", "Flow records decoded.", decoded(func(d *decode.Stats) uint64 { return d.Records }))
	m.counter("options_records_total", "Options data records decoded.",
		decoded(func(d *decode.Stats) uint64 { return d.Options }))
	m.counters("records_filtered_total", "Flow records that are no part of the host graph, by reason; new_contacts is an exporter's limit.",
		"reason", filterNames[1:], func(s *snapshot, i int) uint64 {
			return counted(func(w *workerStats) uint64 { return w.sift.filtered[i+1] })(s)
		})
	m.counters("records_clamped_total", "Flow records whose times were not credible and set to the receive time, by reason.",
		"reason", clampNames[:], func(s *snapshot, i int) uint64 {
			return counted(func(w *workerStats) uint64 { return w.sift.clamped[i] })(s)
		})
	m.counter("records_unweighted_total", "Flow records in contacts whose flows, packets and bytes another record counts (dedup).",
		counted(func(w *workerStats) uint64 { return w.sift.unweighted }))
	m.counter("dedup_evicted_total", "Flows forgotten by first-come counting because its table was full.",
		func(s *snapshot) uint64 { return s.dedupEvicted })
	m.counter("records_late_total", "Flow records that came after the end of their slice and count into a later one.",
		counted(func(w *workerStats) uint64 { return w.counts.late }))
	m.counter("contact_records_total", "Flow records that went into contacts.",
		counted(func(w *workerStats) uint64 { return w.counts.added }))
	m.gauge("table_records", "Flow records in the workers' tables, waiting for the next flush.",
		func(s *snapshot) float64 {
			return float64(counted(func(w *workerStats) uint64 { return w.pending })(s))
		})
	m.gauge("table_fill_ratio", "Share of used slots in the fullest contact table; a flush comes early at 0.75.",
		func(s *snapshot) (fill float64) {
			for _, w := range s.workers {
				fill = max(fill, w.fill)
			}
			return fill
		})
	m.counter("worker_stalls_total", "Times that receiving waited because both tables of a worker were full.",
		counted(func(w *workerStats) uint64 { return w.counts.stalls }))
}

func (m *metrics) flushes() {
	m.counters("flushes_total", "Flushes of the contact tables, by what caused them.", "trigger", triggerNames[:],
		func(s *snapshot, i int) uint64 { return s.flushed.flushes[i] })
	m.counter("contacts_total", "Contacts taken from the tables, each counted once.",
		func(s *snapshot) uint64 { return s.flushed.contacts })
	m.counter("dropped_flushes_total", "Flushes dropped because the log did not take them in time.",
		func(s *snapshot) uint64 { return s.flushed.droppedWindows })
	m.counter("dropped_contacts_total", "Contacts in dropped flushes.",
		func(s *snapshot) uint64 { return s.flushed.droppedContacts })
	m.counter("dropped_records_total", "Flow records in dropped flushes.",
		func(s *snapshot) uint64 { return s.flushed.droppedRecords })
	m.counter("batches_total", "Batches handed to the log.", func(s *snapshot) uint64 { return s.publish.batches })
	m.counter("batch_bytes_total", "Bytes of batches handed to the log.",
		func(s *snapshot) uint64 { return s.publish.batchBytes })
	m.counter("commits_total", "Commits acknowledged by the log.", func(s *snapshot) uint64 { return s.publish.commits })
	m.counter("committed_contacts_total", "Halves of contacts that commits made count: of each contact the near one, and the far one unless it was withheld.",
		func(s *snapshot) uint64 { return s.publish.contacts })
	m.counter("withheld_contacts_total", "Far halves of committed contacts that were left out because they had been told before in their slice.",
		func(s *snapshot) uint64 { return s.publish.withheld })
	m.counter("committed_records_total", "Flow records in the contacts that commits made count.",
		func(s *snapshot) uint64 { return s.publish.records })
	m.counters("log_errors_total", "Failed attempts to write into the log, by operation.", "operation",
		[]string{"publish", "sync", "commit"}, func(s *snapshot, i int) uint64 {
			return [3]uint64{s.publish.publishErrors, s.publish.syncErrors, s.publish.commitErrors}[i]
		})
	m.gauge("queue_flushes", "Flushes waiting for the log.", func(s *snapshot) float64 { return float64(s.status.QueuedFlushes) })
	m.gauge("queue_contacts", "Contacts waiting for the log.", func(s *snapshot) float64 { return float64(s.status.QueuedContacts) })
	m.gauge("log_failing_seconds", "Time for which the log has not answered, 0 when it does.",
		func(s *snapshot) float64 { return s.status.LogFailing })
}

func (m *metrics) templates() {
	m.counters("templates_total", "Template records received, by kind.", "kind", []string{"data", "options"},
		func(s *snapshot, i int) uint64 {
			return decoded(func(d *decode.Stats) uint64 { return [2]uint64{d.Templates, d.OptionsTemplates}[i] })(s)
		})
	m.counter("template_changes_total", "Known templates whose layout changed.",
		decoded(func(d *decode.Stats) uint64 { return d.TemplateChanges }))
	m.counter("template_contests_total", "Other layouts sent over UDP under a known template's id; their data waits until one is confirmed.",
		decoded(func(d *decode.Stats) uint64 { return d.TemplateContests }))
	m.counter("templates_evicted_total", "Templates forgotten because of the caps.",
		decoded(func(d *decode.Stats) uint64 { return d.TemplateEvicted }))
	m.counter("templates_restored_total", "Templates from before a restart that came into use again.",
		decoded(func(d *decode.Stats) uint64 { return d.Restored }))
	m.counter("templates_stale_total", "Templates from before a restart that were forgotten because the exporter had restarted too, or did not repeat them for a day.",
		decoded(func(d *decode.Stats) uint64 { return d.StaleForgotten }))
	m.counters("template_file_errors_total", "Failures of the file that keeps templates over restarts, by operation.", "operation",
		templateFileOps[:], func(s *snapshot, i int) uint64 { return s.templateErrors[i] })
	m.gauge("held_sets", "Data sets waiting for their template.",
		func(s *snapshot) float64 {
			return float64(decoded(func(d *decode.Stats) uint64 { return d.HeldSets })(s))
		})
	m.gauge("exporters", "Exporters known.",
		func(s *snapshot) float64 {
			return float64(decoded(func(d *decode.Stats) uint64 { return d.Exporters })(s))
		})
	m.counter("exporters_evicted_total", "Exporters forgotten because of the cap.",
		decoded(func(d *decode.Stats) uint64 { return d.ExportersEvicted }))
}

func (m *metrics) state() {
	m.gauge("incarnation", "Number of this start of the collector.",
		func(s *snapshot) float64 { return float64(s.status.Incarnation) })
	m.gauge("ended_slice", "Newest slice that the log knows to be over at this collector.",
		func(s *snapshot) float64 { return float64(s.status.Ended) })
	m.gauge("ended_slice_lag_seconds", "Time since the end of that slice; it lies between the grace and a slice more.",
		func(s *snapshot) float64 { return s.lag })
	m.gauge("seeds", "Known bots in the seeds file.", func(s *snapshot) float64 { return float64(s.status.Seeds) })
}

func (m *metrics) perSocket() {
	add := func(n, help string, kind prometheus.ValueType, merge func(float64, listen.SocketStats) float64) {
		m.sockets = append(m.sockets, socketSeries{prometheus.NewDesc(name(n), help, []string{"listener"}, nil), kind, merge})
	}
	add("socket_datagrams_total", "Datagrams read from the sockets of a port.", prometheus.CounterValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.Packets) })
	add("socket_bytes_total", "Bytes read from the sockets of a port.", prometheus.CounterValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.Bytes) })
	add("socket_truncated_total", "Datagrams that were longer than a slot and lost their end.", prometheus.CounterValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.Truncated) })
	add("socket_kernel_drops_total", "Messages that the kernel dropped because a receive buffer was full, each one datagram or several of one exporter that it had joined.", prometheus.CounterValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.KernelDrops) })
	add("socket_receive_buffer_bytes", "Receive buffers that the kernel granted, summed over a port's sockets.", prometheus.GaugeValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.ReceiveBuffer) })
	add("socket_queued_bytes", "Bytes that wait in the receive buffers of a port.", prometheus.GaugeValue,
		func(sum float64, s listen.SocketStats) float64 { return sum + float64(s.Queued) })
}

func (m *metrics) perExporter() {
	add := func(n, help string, kind prometheus.ValueType, merge func(float64, decode.Exporter) float64) {
		m.named = append(m.named, namedSeries{prometheus.NewDesc(name(n), help, []string{"exporter"}, nil), kind, merge})
	}
	add("exporter_datagrams_total", "Datagrams accepted from an exporter.", prometheus.CounterValue,
		func(sum float64, e decode.Exporter) float64 { return sum + float64(e.Packets) })
	add("exporter_records_total", "Flow records decoded from an exporter.", prometheus.CounterValue,
		func(sum float64, e decode.Exporter) float64 { return sum + float64(e.Records) })
	add("exporter_lost_total", "Estimate of what an exporter sent and never arrived.", prometheus.CounterValue,
		func(sum float64, e decode.Exporter) float64 { return sum + float64(e.Lost) })
	add("exporter_templates", "Templates known of an exporter.", prometheus.GaugeValue,
		func(sum float64, e decode.Exporter) float64 { return sum + float64(e.Templates) })
	add("exporter_sampling_interval", "Sampling interval N of 1:N in an exporter's newest records, the highest of the name.", prometheus.GaugeValue,
		func(sum float64, e decode.Exporter) float64 { return max(sum, float64(e.Sampling)) })
	add("exporter_last_seen_timestamp_seconds", "Unix time of an exporter's newest datagram.", prometheus.GaugeValue,
		func(sum float64, e decode.Exporter) float64 { return max(sum, float64(e.LastSeenMS)/1000) })
}
