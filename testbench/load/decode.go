package load

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// decodePackets are decoded over and over: few enough to stay in the cache, as
// the bytes that recvmmsg has just copied do.
const decodePackets = 256

// fullPackets are the records of a packet of an Ethernet frame's size
// (notes/collector.md §2.1).
var fullPackets = map[exporter.Protocol]int{exporter.NetFlow9: 24, exporter.IPFIX: 24, exporter.NetFlow5: 30}

// decodeTime is how much CPU time one repetition takes, at least.
const decodeTime = 40 * time.Millisecond

// measureDecode fills the decoder's figures. Its protocols take turns, so that
// a busy neighbour disturbs all of them.
func (r *run) measureDecode() error {
	protocols := []exporter.Protocol{exporter.NetFlow9, exporter.IPFIX, exporter.NetFlow5}
	return r.profile("decode", func() error {
		ns, allocs := medians{}, medians{}
		for range r.cfg.Repetitions {
			for _, p := range protocols {
				n, a, err := decodeOnce(r.decode[p], r.nowMS)
				if err != nil {
					return err
				}
				ns.add(string(p), n)
				allocs.add("all", a)
			}
		}
		r.result.DecodeV9 = ns.of(string(exporter.NetFlow9))
		r.result.DecodeIPFIX = ns.of(string(exporter.IPFIX))
		r.result.DecodeV5 = ns.of(string(exporter.NetFlow5))
		r.result.DecodeAllocs = allocs.of("all")
		return nil
	})
}

// decodeOnce returns the nanoseconds per flow record and the allocations per
// packet of decoding p for decodeTime.
func decodeOnce(p *packets, nowMS int64) (ns, allocs float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := decode.New(decode.Config{})
	from := netip.AddrFrom4([4]byte{127, 0, 0, 2})
	if p.template != nil {
		d.Decode(nil, from, p.template, nowMS)
	}
	records := make([]flow.Record, 0, 2*p.perPacket)
	sequence := uint32(1)
	pass := func() error {
		for _, b := range p.data {
			sequence += p.setSequence(b, sequence, true)
			if records = d.Decode(records[:0], from, b, nowMS); len(records) != p.perPacket {
				return fmt.Errorf("%s: %d records of a packet, want %d", p.protocol, len(records), p.perPacket)
			}
		}
		return nil
	}
	if err := pass(); err != nil { // caches and branch predictors
		return 0, 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin, took, passes := threadCPU(), time.Duration(0), 0
	for ; took < decodeTime; took = threadCPU() - begin {
		if err := pass(); err != nil {
			return 0, 0, err
		}
		passes++
	}
	runtime.ReadMemStats(&after)
	// The test process allocates a little by itself: whole ones per packet are
	// the decoder's.
	perPacket := float64((after.Mallocs - before.Mallocs) / uint64(passes*len(p.data)))
	return float64(took.Nanoseconds()) / float64(passes*p.records()), perPacket, nil
}
