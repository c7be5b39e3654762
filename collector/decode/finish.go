package decode

import (
	"math"
	"math/bits"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// unixOfNTP is 1970 in seconds since 1900.
const unixOfNTP = 2208988800

// times turns the raw time fields of a chunk into Unix milliseconds.
func (m *message) times(recs []flow.Record, t *template.Template, c *columns, initMS int64) {
	if m.version == template.IPFIX && (t.StartClock == template.Uptime || t.EndClock == template.Uptime) {
		m.ipfixUptime(recs, t, c, initMS)
		return
	}
	switch t.StartClock {
	case template.NoClock, template.UnixMillis:
	case template.Uptime:
		for i := range recs {
			recs[i].StartMS = m.fromUptime(uint64(recs[i].StartMS))
		}
	default:
		for i := range recs {
			recs[i].StartMS = m.millis(t.StartClock, uint64(recs[i].StartMS))
		}
	}
	switch t.EndClock {
	case template.NoClock, template.UnixMillis, template.ObservationMS:
	case template.Uptime:
		for i := range recs {
			recs[i].EndMS = m.fromUptime(uint64(recs[i].EndMS))
		}
	default:
		for i := range recs {
			recs[i].EndMS = m.millis(t.EndClock, uint64(recs[i].EndMS))
		}
	}
	m.missingTimes(recs, t, c)
}

// missingTimes fills a time that the template has no field for: by the
// duration, else by the other time, else by the export time.
func (m *message) missingTimes(recs []flow.Record, t *template.Template, c *columns) {
	start, end := t.StartClock != template.NoClock, t.EndClock != template.NoClock
	if start && end {
		return
	}
	duration := c.of(template.Duration)
	for i := range recs {
		r := &recs[i]
		d := int64(0)
		if t.Has(template.Duration) {
			d = int64(duration[i] & math.MaxUint32)
		}
		switch {
		case start:
			r.EndMS = r.StartMS + d
		case end:
			r.StartMS = r.EndMS - d
		default:
			r.StartMS, r.EndMS = m.exportMS-d, m.exportMS
		}
	}
}

// fromUptime returns the Unix milliseconds of a moment in the exporter's
// uptime. The difference is taken in 32 bits and signed: it survives the wrap
// of the uptime after 49.7 days, and exporters that stamp a flow a moment
// after they stamped the header.
func (m *message) fromUptime(ms uint64) int64 {
	return m.exportMS - int64(int32(m.uptime-uint32(ms)))
}

// ipfixUptime handles flowStartSysUpTime and flowEndSysUpTime, which count
// from a systemInitTimeMilliseconds that IPFIX has no header field for. Where
// the exporter does not tell it, the flow is taken to end at the export time.
func (m *message) ipfixUptime(recs []flow.Record, t *template.Template, c *columns, initMS int64) {
	inits := c.of(template.InitTime)
	for i := range recs {
		r := &recs[i]
		first, last := uint32(r.StartMS), uint32(r.EndMS)
		if t.StartClock != template.Uptime {
			first = last
		}
		if t.EndClock != template.Uptime {
			last = first
		}
		base := initMS
		if t.Has(template.InitTime) {
			base = int64(inits[i])
		}
		if base != 0 {
			r.StartMS, r.EndMS = base+int64(first), base+int64(last)
			continue
		}
		r.StartMS, r.EndMS = m.exportMS-int64(int32(last-first)), m.exportMS
	}
}

// millis turns a raw time of any clock but the exporter's uptime into Unix
// milliseconds. Absurd values wrap; the collector clamps them.
func (m *message) millis(clock template.Clock, raw uint64) int64 {
	switch clock {
	case template.UnixSeconds:
		return int64(raw * 1000)
	case template.NTP:
		seconds := int64(raw >> 32)
		if seconds < 1<<31 {
			seconds += 1 << 32 // the second era, from 2036
		}
		return (seconds-unixOfNTP)*1000 + int64((raw&math.MaxUint32)*1000>>32)
	case template.DeltaMicros:
		return m.exportMS - int64(raw/1000)
	}
	return int64(raw)
}

// upscale multiplies what was counted of samples by 1:rate. Counters that do
// not fit stay at the maximum.
func upscale(r *flow.Record, rate uint32) {
	r.Sampling = rate
	r.Packets = multiply(r.Packets, rate)
	r.Bytes = multiply(r.Bytes, rate)
}

func multiply(n uint64, rate uint32) uint64 {
	high, low := bits.Mul64(n, uint64(rate))
	if high != 0 {
		return math.MaxUint64
	}
	return low
}
