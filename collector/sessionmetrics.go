package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/session"
)

// sessionMetrics reads the counts of the sessions when it is scraped. One law
// can be checked from outside:
//
//	accepted = Σ refused{reason} + Σ ended{reason} + open
type sessionMetrics struct {
	c                              *Collector
	accepted, refused, ended, open *prometheus.Desc
	bytes                          *prometheus.Desc
}

func newSessionMetrics(c *Collector) *sessionMetrics {
	desc := func(n, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name(n), help, labels, nil)
	}
	return &sessionMetrics{
		c:        c,
		accepted: desc("sessions_accepted_total", "Connections accepted for IPFIX over TCP or TLS."),
		refused:  desc("sessions_refused_total", "Connections closed before they became sessions, by reason.", "reason"),
		ended:    desc("sessions_ended_total", "Sessions that ended, by reason.", "reason"),
		open:     desc("sessions", "Sessions open now."),
		bytes:    desc("session_bytes_total", "Bytes of the messages that sessions brought."),
	}
}

// Describe implements prometheus.Collector.
func (m *sessionMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.accepted, m.refused, m.ended, m.open, m.bytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *sessionMetrics) Collect(ch chan<- prometheus.Metric) {
	var s session.Stats
	if server := m.c.sessions.Load(); server != nil {
		s = server.Stats()
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(m.accepted, s.Accepted)
	counter(m.bytes, s.Bytes)
	for r, n := range s.Refused {
		counter(m.refused, n, session.Refusal(r).String())
	}
	for e, n := range s.Ended {
		counter(m.ended, n, session.End(e).String())
	}
	ch <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(s.Open))
}
