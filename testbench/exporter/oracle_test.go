package exporter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
	sf "github.com/netsampler/goflow2/v2/decoders/sflow"
)

const (
	bootMS = 1_700_000_000_000
	nowMS  = bootMS + 7_200_123
)

// randomRecords draws records that every protocol can hold; a share of them is
// IPv6. Packets and bytes are multiples of the sampling rate.
func randomRecords(n int, ipv6 float64, sampling uint64, rng *rand.Rand) []flow.Record {
	rs := make([]flow.Record, n)
	for i := range rs {
		r := &rs[i]
		for _, a := range []*flow.Addr{&r.Src, &r.Dst} {
			binary.BigEndian.PutUint64(a[8:], rng.Uint64())
			copy(a[:12], netip.MustParseAddr("::ffff:0.0.0.0").AsSlice())
		}
		if rng.Float64() < ipv6 {
			for _, a := range []*flow.Addr{&r.Src, &r.Dst} {
				binary.BigEndian.PutUint64(a[:], 0x20010db8<<32|uint64(rng.Uint32()))
				binary.BigEndian.PutUint64(a[8:], rng.Uint64())
			}
		}
		r.Proto, r.TCPFlags = 17, 0
		if rng.IntN(2) == 0 {
			r.Proto, r.TCPFlags = 6, uint8(rng.IntN(64))
		}
		r.SrcPort, r.DstPort = uint16(rng.Uint32()), uint16(rng.Uint32())
		r.InIf, r.OutIf = rng.Uint32N(1<<16), rng.Uint32N(1<<16)
		packets := 1 + rng.Uint64N(1000)
		r.Packets, r.Bytes = packets*sampling, packets*sampling*(60+rng.Uint64N(1400))
		r.EndMS = nowMS - rng.Int64N(60_000)
		r.StartMS = r.EndMS - rng.Int64N(60_000)
		r.Sampling, r.Direction = uint32(sampling), uint8(rng.IntN(2))
	}
	return rs
}

// encode returns copies of the packets that hold the records.
func encode(t testing.TB, c Config, rs []flow.Record) ([][]byte, *Encoder) {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	var packets [][]byte
	emit := func(p []byte) error {
		packets = append(packets, bytes.Clone(p))
		return nil
	}
	for i := range rs {
		if err := e.Add(&rs[i], nowMS, emit); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(nowMS, emit); err != nil {
		t.Fatal(err)
	}
	return packets, e
}

// decoded is what goflow2 reads from packets.
type decoded struct {
	records   []flow.Record
	sequences []uint32 // of each packet
	per       []int    // data and options data records of each packet
	sampling  uint32
	domain    uint32
	// miscounted are v9 packets whose header counts other than the records.
	miscounted int
}

func addr(b []byte) flow.Addr {
	a, _ := netip.AddrFromSlice(b)
	return flow.AddrFrom(a)
}

func decodeAll(t testing.TB, p Protocol, packets [][]byte) decoded {
	t.Helper()
	var d decoded
	templates := netflow.CreateTemplateSystem()
	for i, b := range packets {
		before := len(d.records)
		var err error
		switch p {
		case NetFlow5:
			err = d.v5(b)
		case SFlow:
			err = d.sflow(b)
		default:
			err = d.templated(b, templates)
		}
		if err != nil {
			t.Fatalf("%s packet %d: %v", p, i, err)
		}
		if len(d.per) < i+1 {
			d.per = append(d.per, len(d.records)-before)
		}
	}
	return d
}

func (d *decoded) v5(b []byte) error {
	var p netflowlegacy.PacketNetFlowV5
	if err := netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return err
	}
	if int(p.Count) != len(p.Records) || len(b) != 24+48*len(p.Records) {
		return errors.New("v5: count and length disagree")
	}
	d.sequences, d.domain = append(d.sequences, p.FlowSequence), uint32(p.EngineType)<<8|uint32(p.EngineId)
	d.sampling = max(1, uint32(p.SamplingInterval&0x3fff))
	now := int64(p.UnixSecs)*1000 + int64(p.UnixNSecs)/1_000_000
	four := func(a netflowlegacy.IPAddress) flow.Addr {
		return addr(binary.BigEndian.AppendUint32(nil, uint32(a)))
	}
	for _, r := range p.Records {
		n := uint64(d.sampling)
		d.records = append(d.records, flow.Record{
			Src: four(r.SrcAddr), Dst: four(r.DstAddr), SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, TCPFlags: r.TCPFlags, InIf: uint32(r.Input), OutIf: uint32(r.Output),
			Packets: uint64(r.DPkts) * n, Bytes: uint64(r.DOctets) * n, Sampling: d.sampling,
			StartMS: now - int64(p.SysUptime-r.First), EndMS: now - int64(p.SysUptime-r.Last),
		})
	}
	return nil
}

func number(v any) uint64 {
	var x uint64
	for _, b := range v.([]byte) {
		x = x<<8 | uint64(b)
	}
	return x
}

func (d *decoded) templated(b []byte, templates netflow.NetFlowTemplateSystem) error {
	var p9 netflow.NFv9Packet
	var p10 netflow.IPFIXPacket
	if err := netflow.DecodeMessageVersion(bytes.NewBuffer(b), templates, &p9, &p10); err != nil {
		return err
	}
	sets, now, uptime := p10.FlowSets, int64(0), uint32(0)
	sequence, domain := p10.SequenceNumber, p10.ObservationDomainId
	if p9.Version == 9 {
		sets, now, uptime = p9.FlowSets, int64(p9.UnixSeconds)*1000, p9.SystemUptime
		sequence, domain = p9.SequenceNumber, p9.SourceId
	} else if int(p10.Length) != len(b) {
		return errors.New("ipfix: header length differs from the datagram's")
	}
	count, options := 0, 0
	for _, set := range sets {
		switch s := set.(type) {
		case netflow.TemplateFlowSet:
			count += len(s.Records)
		case netflow.IPFIXOptionsTemplateFlowSet:
			count += len(s.Records)
		case netflow.NFv9OptionsTemplateFlowSet:
			count += len(s.Records)
		case netflow.OptionsDataFlowSet:
			for _, r := range s.Records {
				count++
				options++
				d.option(r)
			}
		case netflow.DataFlowSet:
			for _, r := range s.Records {
				count++
				d.records = append(d.records, record(r.Values, d.sampling, now, uptime))
			}
		default:
			return errors.New("a set of an unknown kind")
		}
	}
	if p9.Version == 9 && int(p9.Count) != count {
		d.miscounted++
	}
	d.sequences, d.domain = append(d.sequences, sequence), domain
	if options > 0 {
		d.per = append(d.per, options)
	}
	return nil
}

func (d *decoded) option(r netflow.OptionsDataRecord) {
	values := map[uint16]uint64{}
	for _, v := range r.OptionsValues {
		values[v.Type] = number(v.Value)
	}
	if n, ok := values[netflow.IPFIX_FIELD_samplingPacketInterval]; ok {
		d.sampling = uint32((n + values[netflow.IPFIX_FIELD_samplingPacketSpace]) / n)
	} else {
		d.sampling = uint32(values[netflow.NFV9_FIELD_SAMPLING_INTERVAL])
	}
}

func record(values []netflow.DataField, sampling uint32, now int64, uptime uint32) flow.Record {
	r := flow.Record{Sampling: sampling}
	for _, v := range values {
		x := uint64(0)
		if b := v.Value.([]byte); len(b) <= 8 {
			x = number(b)
		}
		switch v.Type {
		case netflow.IPFIX_FIELD_sourceIPv4Address, netflow.IPFIX_FIELD_sourceIPv6Address:
			r.Src = addr(v.Value.([]byte))
		case netflow.IPFIX_FIELD_destinationIPv4Address, netflow.IPFIX_FIELD_destinationIPv6Address:
			r.Dst = addr(v.Value.([]byte))
		case netflow.IPFIX_FIELD_sourceTransportPort:
			r.SrcPort = uint16(x)
		case netflow.IPFIX_FIELD_destinationTransportPort:
			r.DstPort = uint16(x)
		case netflow.IPFIX_FIELD_protocolIdentifier:
			r.Proto = uint8(x)
		case netflow.IPFIX_FIELD_tcpControlBits:
			r.TCPFlags = uint8(x)
		case netflow.IPFIX_FIELD_flowDirection:
			r.Direction = uint8(x)
		case netflow.IPFIX_FIELD_ingressInterface:
			r.InIf = uint32(x)
		case netflow.IPFIX_FIELD_egressInterface:
			r.OutIf = uint32(x)
		case netflow.IPFIX_FIELD_packetDeltaCount:
			r.Packets = x * uint64(sampling)
		case netflow.IPFIX_FIELD_octetDeltaCount:
			r.Bytes = x * uint64(sampling)
		case netflow.NFV9_FIELD_FIRST_SWITCHED:
			r.StartMS = now - int64(uptime-uint32(x))
		case netflow.NFV9_FIELD_LAST_SWITCHED:
			r.EndMS = now - int64(uptime-uint32(x))
		case netflow.IPFIX_FIELD_flowStartMilliseconds:
			r.StartMS = int64(x)
		case netflow.IPFIX_FIELD_flowEndMilliseconds:
			r.EndMS = int64(x)
		}
	}
	return r
}

func (d *decoded) sflow(b []byte) error {
	var p sf.Packet
	if err := sf.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return err
	}
	if int(p.SamplesCount) != len(p.Samples) {
		return errors.New("sflow: sample count")
	}
	d.sequences, d.domain = append(d.sequences, p.SequenceNumber), p.SubAgentId
	for _, s := range p.Samples {
		sample := s.(sf.FlowSample)
		raw := sample.Records[0].Data.(sf.SampledHeader)
		frame := raw.HeaderData[:raw.OriginalLength]
		r := flow.Record{InIf: sample.Input, OutIf: sample.Output, Sampling: sample.SamplingRate}
		r.Packets = uint64(sample.SamplingRate)
		r.Bytes = uint64(raw.FrameLength-14) * r.Packets
		var l4 []byte
		switch binary.BigEndian.Uint16(frame[12:]) {
		case 0x0800:
			r.Proto, r.Src, r.Dst, l4 = frame[23], addr(frame[26:30]), addr(frame[30:34]), frame[34:]
		case 0x86dd:
			r.Proto, r.Src, r.Dst, l4 = frame[20], addr(frame[22:38]), addr(frame[38:54]), frame[54:]
		default:
			return errors.New("sflow: ether type")
		}
		r.SrcPort, r.DstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
		if r.Proto == 6 {
			r.TCPFlags = l4[13]
		}
		d.records = append(d.records, r)
	}
	return nil
}
