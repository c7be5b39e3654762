package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/kafka"
)

// kafkaMetrics reads the counts of the consumer when it is scraped.
type kafkaMetrics struct {
	c                                      *Collector
	messages, bad, errors, rewinds, behind *prometheus.Desc
}

func newKafkaMetrics(c *Collector) *kafkaMetrics {
	desc := func(n, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name(n), help, labels, nil)
	}
	return &kafkaMetrics{
		c:        c,
		messages: desc("kafka_messages_total", "Messages read from Kafka."),
		bad:      desc("kafka_bad_messages_total", "Messages from Kafka that could not be used, by reason.", "reason"),
		errors:   desc("kafka_errors_total", "Failed requests to Kafka, by operation; they are tried again.", "operation"),
		rewinds:  desc("kafka_rewinds_total", "Times that messages were read again because the log had not taken them."),
		behind:   desc("kafka_lag_messages", "Messages in Kafka that wait behind those that were read."),
	}
}

// Describe implements prometheus.Collector.
func (m *kafkaMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.messages, m.bad, m.errors, m.rewinds, m.behind} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *kafkaMetrics) Collect(ch chan<- prometheus.Metric) {
	var s kafka.Stats
	if consumer := m.c.kafka.Load(); consumer != nil {
		s = consumer.Stats()
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(m.messages, s.Messages)
	for f := kafka.Fine + 1; f < kafka.Faults; f++ {
		counter(m.bad, s.Bad[f], f.String())
	}
	counter(m.errors, s.FetchErrors, "fetch")
	counter(m.errors, s.CommitErrors, "commit")
	counter(m.rewinds, s.Rewinds)
	ch <- prometheus.MustNewConstMetric(m.behind, prometheus.GaugeValue, float64(s.Lag))
}
