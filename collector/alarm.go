package collector

import (
	"time"

	"github.com/flowhound/flowhound/collector/decode"
)

// alarmEvery is the least time between two alarms in the log; the metrics
// count all.
const alarmEvery = time.Minute

// alarm tells that what an exporter sends contradicts itself: somebody forges
// its packets, or two exporters hide behind one address.
func (c *Collector) alarm(e decode.Exporter, nowMS int64) {
	if since := nowMS - c.alarmedMS; since >= 0 && since < alarmEvery.Milliseconds() {
		return
	}
	c.alarmedMS = nowMS
	name := c.access.Load().name(e.Address)
	if name == unnamed {
		name = c.pseudonymOf(e.Address)
	}
	c.deps.Logger.Warn("exporter contradicts itself: forged packets, or two exporters behind one address",
		"exporter", name, "template_contests", e.TemplateContests, "sequence_forks", e.Forks, "resets", e.Resets)
}
