package capture

import (
	"net/netip"
	"strconv"

	"github.com/flowhound/flowhound/internal/flow"
)

// AppendJSON appends the record as one JSON object, without a line's end. Its
// fields are exporter, version, src, dst, src_port, dst_port, proto, packets,
// bytes, start_ms, end_ms, tcp_flags, sampling. The version is 5, 9, 10
// (IPFIX) or "sflow5".
func AppendJSON(b []byte, exporter netip.Addr, r *flow.Record) []byte {
	number := func(name string, n uint64) {
		b = append(b, ',', '"')
		b = append(b, name...)
		b = append(b, '"', ':')
		b = strconv.AppendUint(b, n, 10)
	}
	addr := func(name string, a netip.Addr) {
		b = append(b, '"')
		b = append(b, name...)
		b = append(b, '"', ':', '"')
		b = a.AppendTo(b)
		b = append(b, '"')
	}
	b = append(b, '{')
	addr("exporter", exporter)
	if r.Version == flow.VersionSFlow {
		b = append(b, `,"version":"sflow5"`...)
	} else {
		number("version", uint64(r.Version))
	}
	b = append(b, ',')
	addr("src", r.Src.NetIP())
	b = append(b, ',')
	addr("dst", r.Dst.NetIP())
	number("src_port", uint64(r.SrcPort))
	number("dst_port", uint64(r.DstPort))
	number("proto", uint64(r.Proto))
	number("packets", r.Packets)
	number("bytes", r.Bytes)
	b = append(b, `,"start_ms":`...)
	b = strconv.AppendInt(b, r.StartMS, 10)
	b = append(b, `,"end_ms":`...)
	b = strconv.AppendInt(b, r.EndMS, 10)
	number("tcp_flags", uint64(r.TCPFlags))
	number("sampling", uint64(r.Sampling))
	return append(b, '}')
}
