package feed

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/federation/wire"
)

// forwardMetrics are cumulative since the forwarder was made.
type forwardMetrics struct {
	forwardedMessages, forwardedBytes   atomic.Uint64 // batches
	forwardedFlushes, forwardedContacts atomic.Uint64
	lostFlushes, lostContacts           atomic.Uint64
	lostMessages                        atomic.Uint64 // control messages
}

func newForwardMetrics() *forwardMetrics { return new(forwardMetrics) }

func (m *forwardMetrics) commit(c wire.Commit) {
	m.forwardedFlushes.Add(1)
	m.forwardedContacts.Add(c.Contacts)
}

func (m *forwardMetrics) lose(c wire.Commit) {
	m.lostFlushes.Add(1)
	m.lostContacts.Add(c.Contacts)
}

// SpoolStatus tells how a spool does.
type SpoolStatus struct {
	// RemoteUp says whether the remote log takes messages; Reason why not.
	RemoteUp bool   `json:"remote_up"`
	Reason   string `json:"reason,omitempty"`
	// Waiting is what the local log holds that is not forwarded, its bytes
	// estimated from the streams' mean message. Before the remote log first
	// answers it is all that the local log holds.
	WaitingMessages uint64 `json:"waiting_messages"`
	WaitingBytes    uint64 `json:"waiting_bytes"`
	// LagSeconds is the age of the oldest control message that waits.
	LagSeconds float64 `json:"lag_seconds"`
	// Forwarded and lost since the process started; contacts are halves.
	ForwardedFlushes  uint64 `json:"forwarded_flushes"`
	ForwardedContacts uint64 `json:"forwarded_contacts"`
	LostFlushes       uint64 `json:"lost_flushes"`
	LostContacts      uint64 `json:"lost_contacts"`
}

// Status returns the state at this moment. It asks the local log only.
func (f *Forwarder) Status(ctx context.Context) SpoolStatus {
	m := f.metrics
	s := SpoolStatus{
		RemoteUp:         true,
		ForwardedFlushes: m.forwardedFlushes.Load(), ForwardedContacts: m.forwardedContacts.Load(),
		LostFlushes: m.lostFlushes.Load(), LostContacts: m.lostContacts.Load(),
	}
	if err := f.reachable(); err != nil {
		s.RemoteUp, s.Reason = false, scrub(err.Error())
	}
	f.waiting(ctx, &s)
	return s
}

// waiting fills in what waits.
func (f *Forwarder) waiting(ctx context.Context, s *SpoolStatus) {
	f.mu.Lock()
	p := f.progress
	f.mu.Unlock()
	states, err := f.local.State(ctx)
	if err != nil {
		return
	}
	for i, st := range states {
		done := p.control
		if i > 0 {
			done = p.streams[i-1]
		}
		if st.Messages == 0 || st.Last <= done {
			continue
		}
		n := min(st.Last-done, st.Messages)
		s.WaitingMessages += n
		s.WaitingBytes += uint64(float64(st.Bytes) / float64(st.Messages) * float64(n))
	}
	control := states[0]
	oldest := max(p.control+1, control.First)
	if control.Messages == 0 || oldest > control.Last {
		return
	}
	if m, err := f.local.message(ctx, controlStream, oldest); err == nil && m != nil {
		s.LagSeconds = max(0, time.Since(m.Time).Seconds())
	}
}

var (
	descSpoolUp        = describe("spool_remote_up", "Whether the remote log takes what the spool holds, 1 or 0.")
	descSpoolMessages  = describe("spool_waiting_messages", "Messages of the spool that are not forwarded yet.")
	descSpoolBytes     = describe("spool_waiting_bytes", "Bytes of the spool that are not forwarded yet, estimated.")
	descSpoolLag       = describe("spool_lag_seconds", "Age of the oldest control message that is not forwarded yet.")
	descSpoolFlushes   = describe("spool_forwarded_flushes_total", "Flushes forwarded whole.")
	descSpoolContacts  = describe("spool_forwarded_contacts_total", "Contacts of the flushes forwarded, both halves.")
	descSpoolForwarded = describe("spool_forwarded_messages_total", "Batches sent to the remote log, repeats after a restart included.")
	descSpoolSent      = describe("spool_forwarded_bytes_total", "Payload bytes of the batches sent to the remote log.")
	descSpoolLost      = describe("spool_lost_flushes_total", "Flushes that the spool dropped, in whole or in part, before they were forwarded.")
	descSpoolLostHalf  = describe("spool_lost_contacts_total", "Contacts of the flushes lost from the spool, both halves.")
	descSpoolLostHead  = describe("spool_lost_messages_total", "Control messages that the spool dropped before they were forwarded.")
)

// forwardCollector asks the local log what waits at each scrape.
type forwardCollector struct{ f *Forwarder }

var _ prometheus.Collector = forwardCollector{}

// Describe implements prometheus.Collector.
func (c forwardCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSpoolUp, descSpoolMessages, descSpoolBytes, descSpoolLag, descSpoolFlushes, descSpoolContacts,
		descSpoolForwarded, descSpoolSent, descSpoolLost, descSpoolLostHalf, descSpoolLostHead,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c forwardCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s, m := c.f.Status(ctx), c.f.metrics
	up := 0.0
	if s.RemoteUp {
		up = 1
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, kind, v)
	}
	send(descSpoolUp, prometheus.GaugeValue, up)
	send(descSpoolMessages, prometheus.GaugeValue, float64(s.WaitingMessages))
	send(descSpoolBytes, prometheus.GaugeValue, float64(s.WaitingBytes))
	send(descSpoolLag, prometheus.GaugeValue, s.LagSeconds)
	send(descSpoolFlushes, prometheus.CounterValue, float64(s.ForwardedFlushes))
	send(descSpoolContacts, prometheus.CounterValue, float64(s.ForwardedContacts))
	send(descSpoolForwarded, prometheus.CounterValue, float64(m.forwardedMessages.Load()))
	send(descSpoolSent, prometheus.CounterValue, float64(m.forwardedBytes.Load()))
	send(descSpoolLost, prometheus.CounterValue, float64(s.LostFlushes))
	send(descSpoolLostHalf, prometheus.CounterValue, float64(s.LostContacts))
	send(descSpoolLostHead, prometheus.CounterValue, float64(m.lostMessages.Load()))
}
