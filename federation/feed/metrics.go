package feed

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters that the log keeps itself.
type metrics struct {
	published, publishedBytes   prometheus.Counter
	failures, resent, conflicts prometheus.Counter
	heals                       prometheus.Counter
	restarts, gaps              *prometheus.CounterVec
	pending                     prometheus.Gauge
	syncSeconds                 prometheus.Histogram
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "flowhound_log_" + name, Help: help})
	}
	perStream := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowhound_log_" + name, Help: help}, []string{"stream"})
		for _, s := range streamNames() {
			v.WithLabelValues(s)
		}
		return v
	}
	return &metrics{
		published:      counter("published_messages_total", "Batches handed to the log, repeats not counted."),
		publishedBytes: counter("published_bytes_total", "Payload bytes of the batches handed to the log, repeats not counted."),
		failures:       counter("publish_failures_total", "Publishes of a batch that were refused or not acknowledged in time."),
		resent:         counter("resent_messages_total", "Batches sent once more under the same id after a failure."),
		conflicts:      counter("conflicts_total", "Control messages refused because another process wrote under the same key."),
		heals:          counter("server_restarts_total", "Restarts of the embedded server because writes kept failing."),
		restarts:       perStream("reader_restarts_total", "Consumers that a reader made anew after an error."),
		gaps:           perStream("gaps_total", "Times that a reader found messages missing from a stream."),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flowhound_log_pending_messages",
			Help: "Batches handed to the log that are not acknowledged yet.",
		}),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "flowhound_log_sync_duration_seconds",
			Help:    "Time that a flush waited until all its batches were acknowledged.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.published, m.publishedBytes, m.failures, m.resent, m.conflicts, m.heals,
		m.restarts, m.gaps, m.pending, m.syncSeconds,
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flowhound_log_"+name, help, labels, nil)
}

var (
	descUp       = describe("up", "Whether the log answered the last scrape, 1 or 0.")
	descBytes    = describe("stored_bytes", "Bytes that a stream takes on disk.", "stream")
	descMessages = describe("stored_messages", "Messages that a stream holds.", "stream")
	descFirst    = describe("first_sequence", "Sequence of the oldest message that a stream holds.", "stream")
	descLast     = describe("last_sequence", "Sequence of the newest message of a stream.", "stream")
)

// collector asks for the streams' sizes at each scrape.
type collector struct{ l *Log }

var _ prometheus.Collector = collector{}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descBytes, descMessages, descFirst, descLast} {
		ch <- d
	}
	for _, m := range c.l.metrics.all() {
		m.Describe(ch)
	}
}

// Collect implements prometheus.Collector. A log that does not answer within
// two seconds is down and has no sizes.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	states, err := c.l.State(ctx)
	up := 1.0
	if err != nil {
		up, states = 0, nil
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descUp, up)
	for _, s := range states {
		gauge(descBytes, float64(s.Bytes), s.Name)
		gauge(descMessages, float64(s.Messages), s.Name)
		gauge(descFirst, float64(s.First), s.Name)
		gauge(descLast, float64(s.Last), s.Name)
	}
	for _, m := range c.l.metrics.all() {
		m.Collect(ch)
	}
}
