package decode_test

import (
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/decode/packet"
	"github.com/flowhound/flowhound/internal/flow"
)

// FuzzDecode gives two datagrams to one decoder, the first twice: the second
// is read in the state that the first left.
func FuzzDecode(f *testing.F) {
	for _, p := range packetSet() {
		f.Add(p, p)
	}
	for _, b := range bombs() {
		if first := b.packets[0]; len(first) < 4096 {
			f.Add(first, b.packets[len(b.packets)-1])
		}
	}
	nobody := sflowPacket(exporterA, 0, 0, sflowSample(false, 1, headerRecord(12, 64, ip6(netip.IPv6Unspecified(), netip.IPv6Unspecified(), 58, nil))))
	f.Add(nobody, nobody)
	fields, record := fullFields()
	f.Add(packet10(header{}, set(2, templateRecord(256, fields...))), packet10(header{}, set(256, record)))
	recs := make([]flow.Record, 0, 2400)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d := decode.New(decode.Config{VXLAN: true})
		for _, p := range [][]byte{a, b, a} {
			// No slack behind the packet: whoever reads there, panics.
			recs = d.Decode(recs[:0], exporterA, p[:len(p):len(p)], now)
			if limit := 2 * (len(a) + len(b)) / 8 * 3; len(recs) > limit {
				t.Errorf("%d records, want at most %d", len(recs), limit)
			}
			for i := range recs {
				if recs[i].Sampling == 0 || recs[i].Src.IsZero() || recs[i].Dst.IsZero() {
					t.Errorf("record without sampling or address: %s", text(recs[i]))
				}
			}
			s := d.Stats()
			checkLaws(t, &s)
		}
	})
}

// FuzzPacket reads packets of every link.
func FuzzPacket(f *testing.F) {
	inner := ethernet(0x0800, ip4(src4, dst4, 6, tcp(1, 2, 3)))
	for _, p := range [][]byte{
		inner, ethernet(0x8100, cat([]byte{0, 5, 0x88, 0x47, 0, 1, 1, 64}, ip4(src4, dst4, 17, udp(1, 4789, inner)))),
		ip6(src6, dst6, 0, cat([]byte{44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0}, udp(1, 2, nil))),
		ethernet(0x8864, cat(make([]byte, 6), []byte{0, 0x57}, ip6(src6, dst6, 51, []byte{6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))),
	} {
		for link := packet.Ethernet; link <= packet.Linux2; link++ {
			f.Add(uint8(link), p)
		}
	}
	f.Fuzz(func(t *testing.T, link uint8, p []byte) {
		h, ok := packet.Parse(packet.Link(link), p[:len(p):len(p)])
		if len(h.Payload) > len(p) || h.Fragment && h.SrcPort != 0 || !ok && !h.Src.IsZero() && h.Dst.IsZero() {
			t.Errorf("got %+v %v", h, ok)
		}
	})
}
