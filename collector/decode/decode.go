// Package decode turns export datagrams into flow records: NetFlow v5, NetFlow
// v9 (RFC 3954), IPFIX (RFC 7011, RFC 5103) and sFlow version 5.
package decode

import (
	"net/netip"

	"github.com/flowhound/flowhound/internal/flow"
)

// Config are the settings of a [Decoder].
type Config struct {
	// Sampling returns the rule of an exporter; nil means no rule.
	Sampling func(exporter netip.Addr) SamplingRule
	// VXLAN also looks into VXLAN packets of sFlow samples and reports the
	// inner hosts.
	VXLAN bool
	// V5RawSampling takes all 16 bits of the v5 sampling field as the rate,
	// for exporters that ignore the two mode bits.
	V5RawSampling bool
}

// SamplingRule is what the configuration says about an exporter's sampling.
type SamplingRule struct {
	Rate  uint32 // 1:Rate where the exporter tells none; 0 means 1
	Force bool   // use Rate even where the exporter tells another
}

// Decoder decodes the datagrams of any number of exporters.
type Decoder struct{}

// New returns a decoder. Each worker has its own.
func New(cfg Config) *Decoder { return &Decoder{} }

// Decode appends the flow records of one datagram to dst and returns it. It
// never fails: what cannot be used is counted by reason. receivedMS is in
// Unix milliseconds. It reads pkt only during the call.
func (d *Decoder) Decode(dst []flow.Record, exporter netip.Addr, pkt []byte, receivedMS int64) []flow.Record {
	return dst
}

// Stats returns the counts until now. It may be called from any goroutine.
func (d *Decoder) Stats() Stats { return Stats{} }

// Exporters appends what is known of each exporter to dst. It may be called
// from any goroutine.
func (d *Decoder) Exporters(dst []Exporter) []Exporter { return dst }

// SetSampling replaces Config.Sampling, for all exporters at once. It may be
// called from any goroutine.
func (d *Decoder) SetSampling(rule func(exporter netip.Addr) SamplingRule) {}
