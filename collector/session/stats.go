package session

// Refusal says why a connection was closed before it became a session. The
// list is fixed, so that a metric may be labelled with it.
type Refusal uint8

// The reasons of refusals.
const (
	RefusedExporter  Refusal = iota // its address is not listened to
	RefusedFull                     // as many sessions as may be are open
	RefusedAddress                  // its address has half of them already
	RefusedHandshake                // TLS could not be agreed on in time

	// Refusals is the number of reasons.
	Refusals
)

// String returns the reason as metrics print it.
func (r Refusal) String() string {
	return [Refusals]string{"exporter", "full", "address", "handshake"}[r]
}

// End says why a session ended.
type End uint8

// The reasons of ends.
const (
	EndPeer      End = iota // the exporter closed it between two messages
	EndTruncated            // the exporter closed it inside a message
	EndError                // the connection broke
	EndIdle                 // no message for Config.IdleTimeout
	EndSlow                 // a message took longer than MessageTime to arrive
	EndVersion              // what came was no IPFIX message
	EndLength               // a message shorter than its own header
	EndExporter             // its address is not listened to any more
	EndStop                 // the collector stops

	// Ends is the number of reasons.
	Ends
)

// String returns the reason as metrics print it.
func (e End) String() string {
	return [Ends]string{"peer", "truncated", "error", "idle", "slow", "version", "length", "exporter", "stop"}[e]
}

// Malformed reports whether e tells of an exporter that does not speak IPFIX.
func (e End) Malformed() bool { return e == EndVersion || e == EndLength }

// Stats are counts of a server, cumulative but for Open. Each connection is
// refused, open, or ended: Accepted = Σ Refused + Open + Σ Ended.
type Stats struct {
	Accepted uint64 // connections
	Refused  [Refusals]uint64
	Ended    [Ends]uint64
	Open     uint64 // now, those that still shake hands included
	Messages uint64 // handed over
	Bytes    uint64 // of messages
}
