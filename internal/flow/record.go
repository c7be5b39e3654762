package flow

// Direction values of a flow record (IPFIX information element 61).
const (
	Ingress          = 0
	Egress           = 1
	DirectionUnknown = 0xff
)

// Record is one flow record as an exporter reported it, after sampling is
// undone for packets and bytes. It is plain data, reused between packets by
// the decoder that fills it.
type Record struct {
	Src, Dst Addr
	// Packets and Bytes are multiplied by Sampling; flow counts never are.
	Packets, Bytes uint64
	// StartMS and EndMS are Unix milliseconds, as exported: not clamped.
	StartMS, EndMS int64
	// Sampling is the rate 1:Sampling that was applied, at least 1.
	Sampling uint32
	// Domain is the observation domain (IPFIX), source id (v9), engine type
	// and id (v5) or sub-agent (sFlow).
	Domain      uint32
	InIf, OutIf uint32
	SrcPort     uint16
	DstPort     uint16
	Proto       uint8
	TCPFlags    uint8
	Direction   uint8
	Version     uint8 // 5, 9, 10 (IPFIX); sFlow v5 is VersionSFlow
}

// VersionSFlow marks records from sFlow version 5 datagrams in
// [Record.Version], where 5 alone would mean NetFlow v5.
const VersionSFlow = 105

// TCP flag bits of [Record.TCPFlags] and of a contact.
const (
	TCPFin = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
	TCPUrg
)
