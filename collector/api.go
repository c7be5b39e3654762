package collector

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// rateEvery is the least time between two samples of the exporters' rates.
const rateEvery = 5 * time.Second

// rateSample is how many records an exporter had sent at the last sample, and
// its rate until then.
type rateSample struct {
	records        uint64
	rate           float64 // records per second
	contradictions uint64  // see alarm
}

// ExporterStatus is what the API tells about one exporter.
type ExporterStatus struct {
	Name             string  `json:"name"`              // as configured, else the pseudonym of its address
	Configured       bool    `json:"configured"`        // whether Name is from the configuration
	Versions         []int   `json:"versions"`          // of export protocols: 5, 9, 10 (IPFIX), 105 (sFlow v5)
	Rate             float64 `json:"rate"`              // flow records per second, lately
	Packets          uint64  `json:"packets"`           // accepted
	Records          uint64  `json:"records"`           // flow records decoded
	Options          uint64  `json:"options"`           // options data records
	Dropped          uint64  `json:"dropped"`           // parts of packets, all reasons
	Held             uint64  `json:"held"`              // sets waiting for their template
	Lost             uint64  `json:"lost"`              // by sequence numbers, an estimate
	Reordered        uint64  `json:"reordered"`         // packets
	Duplicates       uint64  `json:"duplicates"`        // packets
	Resets           uint64  `json:"resets"`            // of sequence numbers
	Templates        int     `json:"templates"`         // known now
	TemplateChanges  uint64  `json:"template_changes"`  // layouts that changed
	TemplateContests uint64  `json:"template_contests"` // other layouts under a known id, see template_contests_total
	Forks            uint64  `json:"sequence_forks"`    // returns to a sequence that was left
	Sampling         uint32  `json:"sampling"`          // 1:N of the newest records
	ClockSkew        float64 `json:"clock_skew"`        // seconds that its clock is ahead
	LastSeenSeconds  float64 `json:"last_seen_seconds"` // since its newest packet
}

// RefusedStatus is a source whose packets were refused lately.
type RefusedStatus struct {
	Name            string  `json:"name"`    // the pseudonym of its address
	Packets         uint64  `json:"packets"` // since it was noticed
	LastSeenSeconds float64 `json:"last_seen_seconds"`
}

// Status is the state of a collector.
type Status struct {
	Name           string          `json:"name"`
	Incarnation    uint64          `json:"incarnation"`
	Flush          uint64          `json:"flush"`      // the last one committed
	Ended          flow.Slice      `json:"ended"`      // the last slice committed as over
	Generation     flow.Generation `json:"generation"` // of new pseudonyms
	Workers        int             `json:"workers"`
	Exporters      int             `json:"exporters"`
	Seeds          int             `json:"seeds"`
	Packets        uint64          `json:"packets"`
	Records        uint64          `json:"records"`
	QueuedFlushes  int             `json:"queued_flushes"`
	QueuedContacts int             `json:"queued_contacts"`
	// LogFailing is for how many seconds the log has not answered, 0 when it
	// does.
	LogFailing float64 `json:"log_failing_seconds"`
}

// Status returns the state of the collector.
func (c *Collector) Status() Status {
	commit, _, failing := c.publisher.state()
	s := Status{Name: c.cfg.Name, Incarnation: commit.Incarnation, Flush: commit.Flush, Ended: commit.Ended}
	s.QueuedFlushes, s.QueuedContacts = c.queue.depth()
	if !failing.IsZero() {
		s.LogFailing = time.Since(failing).Seconds()
	}
	workers := c.active()
	s.Workers = len(workers)
	for _, w := range workers {
		d := w.decoder.Stats()
		s.Packets += w.stats().counts.received
		s.Records += d.Records
		s.Exporters += int(d.Exporters)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Seeds = c.seeds
	if c.naming != nil {
		s.Generation = c.naming.Generation()
	}
	return s
}

// active returns the workers once they run.
func (c *Collector) active() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return nil
	}
	return c.workers
}

// Handler serves GET /api/v1/exporters and /api/v1/exporters/refused, lists
// in JSON.
func (c *Collector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/exporters", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Exporters()) })
	mux.HandleFunc("GET /api/v1/exporters/refused", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Refused()) })
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: status does not encode: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

// Exporters returns what is known about each exporter, the busiest first.
func (c *Collector) Exporters() []ExporterStatus {
	nowMS := c.deps.Now().UnixMilli()
	a := c.access.Load()
	list := []ExporterStatus{}
	for _, e := range mergeExporters(c.active()) {
		s := ExporterStatus{
			Name: a.name(e.Address), Configured: true,
			Packets: e.Packets, Records: e.Records, Options: e.Options, Dropped: e.Dropped, Held: e.Held,
			Lost: e.Lost, Reordered: e.Reordered, Duplicates: e.Duplicates, Resets: e.Resets,
			Templates: e.Templates, TemplateChanges: e.TemplateChanges, TemplateContests: e.TemplateContests, Forks: e.Forks, Sampling: e.Sampling,
			ClockSkew: float64(e.ClockSkewMS) / 1000, LastSeenSeconds: float64(nowMS-e.LastSeenMS) / 1000,
			Versions: []int{},
		}
		for _, v := range e.Versions {
			s.Versions = append(s.Versions, int(v))
		}
		if s.Name == unnamed {
			s.Name, s.Configured = c.pseudonymOf(e.Address), false
		}
		c.mu.Lock()
		s.Rate = c.rates[e.Address].rate
		c.mu.Unlock()
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ExporterStatus) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Records, a.Records), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Refused returns the last sources that were refused, at most 64, the latest
// first.
func (c *Collector) Refused() []RefusedStatus {
	nowMS := c.deps.Now().UnixMilli()
	list := []RefusedStatus{}
	for _, r := range c.refused.list() {
		list = append(list, RefusedStatus{Name: c.pseudonymOf(r.addr), Packets: r.count,
			LastSeenSeconds: float64(nowMS-r.lastMS) / 1000})
	}
	return list
}

// pseudonymOf returns the printed pseudonym of an exporter's address.
func (c *Collector) pseudonymOf(a netip.Addr) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.naming.Host(flow.AddrFrom(a)).Pseudonym.Text(c.naming.Generation())
}

// mergeExporters returns the exporters of all workers, each once: where the
// kernel cannot steer, one exporter reaches several workers.
func mergeExporters(workers []*worker) []decode.Exporter {
	var all []decode.Exporter
	for _, w := range workers {
		all = w.decoder.Exporters(all)
	}
	slices.SortStableFunc(all, func(a, b decode.Exporter) int { return a.Address.Compare(b.Address) })
	merged := all[:0]
	for _, e := range all {
		if n := len(merged); n > 0 && merged[n-1].Address == e.Address {
			merged[n-1] = mergeExporter(merged[n-1], e)
			continue
		}
		merged = append(merged, e)
	}
	return merged
}

func mergeExporter(a, b decode.Exporter) decode.Exporter {
	if b.LastSeenMS > a.LastSeenMS {
		a, b = b, a
	}
	a.Packets += b.Packets
	a.Records += b.Records
	a.Options += b.Options
	a.Dropped += b.Dropped
	a.Held += b.Held
	a.Lost += b.Lost
	a.Reordered += b.Reordered
	a.Duplicates += b.Duplicates
	a.Resets += b.Resets
	a.Templates += b.Templates
	a.TemplateChanges += b.TemplateChanges
	a.TemplateContests += b.TemplateContests
	a.Forks += b.Forks
	a.Versions = append(slices.Clone(a.Versions), b.Versions...)
	slices.Sort(a.Versions)
	a.Versions = slices.Compact(a.Versions)
	return a
}

// sampleRates measures each exporter's rate since the last sample.
func (c *Collector) sampleRates(nowMS int64) {
	c.mu.Lock()
	tookMS := nowMS - c.ratesMS
	last := c.rates
	c.mu.Unlock()
	if tookMS >= 0 && tookMS < rateEvery.Milliseconds() {
		return
	}
	rates := make(map[netip.Addr]rateSample)
	for _, e := range mergeExporters(c.workers) {
		s := rateSample{records: e.Records, contradictions: e.TemplateContests + e.Forks}
		if s.contradictions > last[e.Address].contradictions {
			c.alarm(e, nowMS)
		}
		if old, ok := last[e.Address]; ok && e.Records >= old.records && tookMS > 0 {
			s.rate = float64(e.Records-old.records) / (float64(tookMS) / 1000)
		}
		rates[e.Address] = s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rates, c.ratesMS = rates, nowMS
}
