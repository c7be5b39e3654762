package decode

import (
	"net/netip"

	"github.com/flowhound/flowhound/internal/flow"
)

// Adopt appends a record that another collector has decoded to dst and returns
// it, with the accounts of a datagram that holds it alone. r.Sampling is the
// rate that the exporter told, 0 for none, and not applied yet: Adopt does
// that, as the exporter's rule says. r.Version is 0 where it is not known.
func (d *Decoder) Adopt(dst []flow.Record, exporter netip.Addr, r flow.Record, receivedMS int64) []flow.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Datagrams++
	d.stats.DataRecords++
	e := d.accept(exporter, &message{receivedMS: receivedMS})
	if r.Version != 0 {
		e.spoke(r.Version)
	}
	if r.Src.IsZero() || r.Dst.IsZero() {
		d.drop(e, NoAddress, 1)
		return dst
	}
	rate := r.Sampling
	if rate == 0 || e.rule.Force {
		rate = max(e.rule.Rate, 1)
	}
	e.sampling, r.Sampling = rate, 1
	if rate != 1 {
		upscale(&r, rate)
	}
	e.records++
	d.stats.Records++
	return append(dst, r)
}
