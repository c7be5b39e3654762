package collector

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
)

// Forged templates and numbers are counted, shown per exporter, and logged
// once a minute at most, without an address.
func TestAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		number := uint32(0)
		send := func(sequence uint32, body ...uint16) {
			b := binary.BigEndian.AppendUint32([]byte{0, 10, 0, byte(16 + 4 + 2*len(body))}, uint32(r.deps.Now().Unix()))
			b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, sequence), 7)
			b = append(b, 0, 2, 0, byte(4+2*len(body)))
			for _, w := range body {
				b = binary.BigEndian.AppendUint16(b, w)
			}
			r.sources[0].feed(listen.Packet{From: netip.MustParseAddrPort("203.0.113.97:9"), Data: slices.Grow(b, listen.Slack)})
		}
		own, forged := []uint16{256, 2, 8, 4, 12, 4}, []uint16{256, 2, 12, 4, 8, 4}
		count := func() int { return strings.Count(r.logs.String(), "exporter contradicts itself") }
		send(number, own...)
		time.Sleep(r.cfg.Flush + time.Second)
		if count() != 0 {
			t.Fatalf("an alarm without a cause: %s", r.logs)
		}
		for range 12 { // two minutes
			send(number, forged...)
			send(4_000_000_000, own...)
			send(number, own...)
			time.Sleep(r.cfg.Flush)
		}
		if n := count(); n < 2 || n > 3 {
			t.Errorf("%d alarms in two minutes, want 2 or 3", n)
		}
		if strings.Contains(r.logs.String(), "203.0.113") {
			t.Error("an alarm shows an address")
		}
		contests, forks := r.metric("template_contests_total"), r.metric("sequence_forks_total")
		if contests != 12 || forks < 12 {
			t.Errorf("%v contests and %v forks, want 12 and at least as many", contests, forks)
		}
		if e := r.Exporters(); len(e) != 1 || e[0].TemplateContests != 12 || float64(e[0].Forks) != forks {
			t.Errorf("exporters: %+v", e)
		}
		r.stop()
	})
}
