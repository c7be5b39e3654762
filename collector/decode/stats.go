package decode

import "net/netip"

// Reason says why a datagram or a part of one gave no flow record. The list
// is fixed, so that a metric may be labelled with it.
type Reason uint8

// The reasons of drops. A datagram that is refused as a whole counts once,
// with one of the first group; the others count parts of an accepted one, and
// the remaining parts go on.
const (
	TooShort       Reason = iota // shorter than the header of its version
	UnknownVersion               // not NetFlow v5, v9, IPFIX or sFlow v5
	BadAgent                     // sFlow agent address of an unknown type

	// DatagramReasons is the number of reasons that refuse a whole datagram.
	DatagramReasons
)

// The reasons that drop a part of an accepted datagram.
const (
	MessageTruncated  Reason = iota + DatagramReasons // the header promises more than the datagram holds
	SetLength                                         // a set shorter than its own header, or one set too many: the rest of the datagram is lost
	SetTruncated                                      // a set reaches past the datagram: its whole records are decoded
	SetReserved                                       // a set id that its protocol reserves
	TemplateMalformed                                 // a template with an impossible id, count or length
	TemplateEmpty                                     // a template whose records would have no bytes
	TemplateLimit                                     // a template above the caps on fields, or on learning per datagram
	TemplateWithdrawn                                 // a withdrawal that is ignored: over UDP (RFC 7011 §8.4), or of a template that is not known
	NoTemplate                                        // a data set whose template did not come in time
	RecordTruncated                                   // a variable length that reaches past its set
	NoAddress                                         // a data record or flow sample without a pair of addresses
	SampleMalformed                                   // an sFlow sample or record that reaches past its container
	SamplerLimit                                      // a sampler above the cap of its exporter

	// Reasons is the number of reasons.
	Reasons
)

var reasonNames = [Reasons]string{
	TooShort:          "too_short",
	UnknownVersion:    "unknown_version",
	BadAgent:          "bad_agent",
	MessageTruncated:  "message_truncated",
	SetLength:         "set_length",
	SetTruncated:      "set_truncated",
	SetReserved:       "set_reserved",
	TemplateMalformed: "template_malformed",
	TemplateEmpty:     "template_empty",
	TemplateLimit:     "template_limit",
	TemplateWithdrawn: "template_withdrawn",
	NoTemplate:        "no_template",
	RecordTruncated:   "record_truncated",
	NoAddress:         "no_address",
	SampleMalformed:   "sample_malformed",
	SamplerLimit:      "sampler_limit",
}

// String returns the reason as metrics and the decode command print it.
func (r Reason) String() string {
	if r >= Reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Stats are cumulative counts of one decoder. Three conservation laws hold at
// any time, exactly:
//
//	Datagrams = Accepted + Σ Drops[r] for r < DatagramReasons
//	DataRecords + FlowSamples + Reversed = Records + Drops[NoAddress]
//	DataSets = DecodedSets + Drops[NoTemplate] + HeldSets
type Stats struct {
	Datagrams uint64 // given to Decode
	Accepted  uint64 // with a header that could be read

	Records     uint64 // appended to the caller's slice
	DataRecords uint64 // of v5 and of data templates, with or without addresses
	Reversed    uint64 // second records made of biflows (RFC 5103, NSEL)
	Options     uint64 // options data records

	Templates        uint64 // data template records received, repeated ones included
	OptionsTemplates uint64
	TemplateChanges  uint64 // known templates whose layout changed
	TemplateContests uint64 // other layouts of known templates over UDP, to be confirmed
	TemplateEvicted  uint64 // templates forgotten for the caps
	Withdrawn        uint64 // templates that their exporter withdrew
	Restored         uint64 // templates from before a restart
	StaleForgotten   uint64 // of those, forgotten because the exporter restarted or was silent for a day

	DataSets    uint64 // sets of data or options records, held ones included
	DecodedSets uint64
	HeldSets    uint64 // waiting for their template now

	FlowSamples    uint64
	CounterSamples uint64
	OtherSamples   uint64

	Lost       uint64 // estimate of missing units: v5 and IPFIX records, v9 and sFlow packets
	Reordered  uint64
	Duplicates uint64
	Resets     uint64
	Forks      uint64 // resets that returned to the sequence before

	Exporters        uint64 // known now
	ExportersEvicted uint64
	Drops            [Reasons]uint64
}

// Exporter is what one decoder knows about one exporter. Counts are
// cumulative since the exporter was first seen (or seen again after having
// been evicted).
type Exporter struct {
	Address  netip.Addr
	Packets  uint64 // accepted datagrams
	Records  uint64 // appended to the caller's slices
	Options  uint64
	Dropped  uint64 // parts of datagrams, all reasons
	Held     uint64 // sets waiting for their template now
	Waited   uint64 // sets that came before their template
	Versions []uint8

	Lost, Reordered, Duplicates, Resets uint64

	Templates       int    // known now, options templates included
	TemplateChanges uint64 // layouts that changed
	// TemplateContests are other layouts that were sent under a known key,
	// Forks the returns to a sequence of numbers that had been left: signs of
	// forgery, or of two exporters behind one address.
	TemplateContests, Forks uint64
	Sampling                uint32 // rate 1:Sampling of the newest records, 0 before the first
	LastSeenMS              int64  // receive time of the newest datagram
	ClockSkewMS             int64  // export time minus receive time of the newest datagram
}
