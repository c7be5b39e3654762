package collector

import (
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/listen"
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range m.series {
		ch <- s.desc
	}
	for _, s := range m.sockets {
		ch <- s.desc
	}
	for _, s := range m.named {
		ch <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	snap := m.snapshot()
	for _, s := range m.series {
		if s.labels == nil {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(snap, 0))
		}
		for i, l := range s.labels {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(snap, i), l)
		}
	}
	m.collectSockets(ch)
	m.collectExporters(ch)
}

func (m *metrics) snapshot() *snapshot {
	c := m.c
	s := &snapshot{status: c.Status()}
	for _, w := range c.active() {
		s.workers = append(s.workers, w.stats())
		s.decode = append(s.decode, w.decoder.Stats())
	}
	_, s.publish, _ = c.publisher.state()
	s.dedupEvicted = c.firstCome.forgotten()
	if len(s.workers) > 0 {
		s.templateErrors = c.templates.failures()
	}
	c.mu.Lock()
	s.flushed = c.flushed
	c.mu.Unlock()
	if s.status.Incarnation > 0 {
		end := (int64(s.status.Ended) + 1) * c.cfg.Slice.Milliseconds()
		s.lag = float64(c.deps.Now().UnixMilli()-end) / 1000
	}
	return s
}

func (m *metrics) collectSockets(ch chan<- prometheus.Metric) {
	ports := make(map[string][]listen.SocketStats)
	if len(m.c.active()) > 0 {
		for _, s := range m.c.input.Stats() {
			_, port, err := net.SplitHostPort(s.Address)
			if err != nil {
				port = "other"
			}
			ports[port] = append(ports[port], s)
		}
	}
	for port, sockets := range ports {
		for _, s := range m.sockets {
			sum := 0.0
			for _, x := range sockets {
				sum = s.merge(sum, x)
			}
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, sum, port)
		}
	}
}

func (m *metrics) collectExporters(ch chan<- prometheus.Metric) {
	a := m.c.access.Load()
	names := map[string][]decode.Exporter{unnamed: nil}
	for _, e := range a.exporters {
		names[e.Name] = nil
	}
	for _, e := range mergeExporters(m.c.active()) {
		n := a.name(e.Address)
		names[n] = append(names[n], e)
	}
	for n, exporters := range names {
		for _, s := range m.named {
			sum := 0.0
			for _, e := range exporters {
				sum = s.merge(sum, e)
			}
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, sum, n)
		}
	}
}
