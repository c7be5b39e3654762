package decode_test

import (
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
)

var templateOfPairs = set(2, templateRecord(256, pair4...))

func message10(sequence uint32, sets ...[]byte) []byte {
	return packet10(header{secs: secs, domain: 5, sequence: sequence}, sets...)
}

const pairText = "198.51.100.7:0>203.0.113.9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v10 dom 5"

// RFC 7011 §8: the lifetime of a template is that of its transport session,
// and its scope too.
func TestRFC7011Section8TemplatesOfASession(t *testing.T) {
	x := newTester(t, decode.Config{})
	records := func(session uint64, pkt []byte) int {
		t.Helper()
		x.d.SetSession(session)
		return len(x.decode(pkt))
	}
	f := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d records, want %d", what, got, want)
		}
	}
	f("session 1, with its template", records(1, message10(0, templateOfPairs, set(256, bytes4))), 1)
	f("session 2, without", records(2, message10(0, set(256, bytes4))), 0)
	f("session 2, with another layout", records(2, message10(1, set(2, templateRecord(256, with(pair4, field{id: 1, length: 8})...)), set(256, bytes4, u64(1)))), 1)
	f("session 1 again", records(1, message10(1, set(256, bytes4))), 1)
	f("UDP", records(0, message10(0, templateOfPairs)), 0)
	x.d.EndSession(exporterA, 1)
	f("session 1 after its end", records(1, message10(2, set(256, bytes4))), 0)
	f("UDP after the end of a session", records(0, message10(0, set(256, bytes4))), 1)
	x.only(map[decode.Reason]uint64{decode.NoTemplate: 2})
	if s := x.d.Stats(); s.Exporters != 1 || s.Lost != 0 || s.Resets != 0 || s.TemplateChanges != 0 || s.HeldSets != 0 {
		t.Errorf("got %+v, want one exporter, its sequences apart", s)
	}
	x.d.EndSession(exporterA, 1)
	x.d.EndSession(exporterA, 2)
	x.d.EndSession(netip.MustParseAddr("192.0.2.99"), 2)
	e := x.d.Exporters(nil)
	if len(e) != 1 || e[0].Packets != 7 || e[0].Records != 4 || e[0].Templates != 1 {
		t.Errorf("got %+v, want the counts of all sessions and the template of UDP", e)
	}
}

// RFC 7011 §8.1: a withdrawal removes the template, of its kind and domain
// only; the id may then be used anew.
func TestRFC7011Section81Withdrawal(t *testing.T) {
	withdraw := func(setID, id uint16) []byte { return set(setID, u16(id), u16(0)) }
	options := set(3, optionsRecord10(300, []field{{id: 149, length: 4}}, []field{{id: 34, length: 4}}))
	learnt := func() tester {
		x := newTester(t, decode.Config{})
		x.d.SetSession(9)
		x.want(message10(0, set(2, templateRecord(256, pair4...), templateRecord(257, pair4...)), options))
		x.want(packet10(header{secs: secs, domain: 6}, templateOfPairs))
		return x
	}
	f := func(what string, left int, reason map[decode.Reason]uint64, sets ...[]byte) {
		t.Helper()
		x := learnt()
		x.want(message10(0, sets...))
		x.only(reason)
		if got := x.d.Exporters(nil)[0].Templates; got != left {
			t.Errorf("%s: %d templates left, want %d", what, got, left)
		}
		if got := x.d.Stats().Withdrawn; got != uint64(4-left) {
			t.Errorf("%s: %d withdrawn, want %d", what, got, 4-left)
		}
	}
	f("one", 3, nil, withdraw(2, 256))
	f("two in a set", 2, nil, set(2, u16(256), u16(0), u16(257), u16(0)))
	f("options", 3, nil, withdraw(3, 300))
	f("all of the domain", 2, nil, withdraw(2, 2))
	f("all options", 3, nil, withdraw(3, 3))
	f("unknown", 4, map[decode.Reason]uint64{decode.TemplateWithdrawn: 1}, withdraw(2, 999))
	f("of the other kind", 4, map[decode.Reason]uint64{decode.TemplateWithdrawn: 2}, withdraw(3, 256), withdraw(2, 300))
	f("twice", 3, map[decode.Reason]uint64{decode.TemplateWithdrawn: 1}, withdraw(2, 256), withdraw(2, 256))
	f("data of a withdrawn template", 3, map[decode.Reason]uint64{decode.NoTemplate: 1}, withdraw(2, 256), set(256, bytes4))

	x := learnt()
	x.want(message10(0, withdraw(2, 256), templateOfPairs, set(256, bytes4)), pairText)
	if s := x.d.Stats(); s.TemplateChanges != 0 {
		t.Errorf("a template that was withdrawn before changed %d times", s.TemplateChanges)
	}
}

// RFC 7011 §10.4: a message may be as long as its length field tells, and what
// it teaches is told once.
func TestRFC7011Section104LongMessage(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.d.SetSession(1)
	var templates, sets [][]byte
	for i := range 1000 {
		templates = append(templates, set(2, templateRecord(uint16(256+i), pair4...)))
		sets = append(sets, set(uint16(256+i), bytes4))
	}
	if got := len(x.decode(message10(0, templates...))); got != 0 {
		t.Fatalf("%d records of templates", got)
	}
	if got := len(x.decode(message10(0, sets...))); got != 1000 {
		t.Errorf("got %d records of 1000 templates", got)
	}
	x.only(nil)
}

// What is saved for the next start are the templates of UDP: those of a
// session end with it.
func TestSessionsAreNotSaved(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.d.SetSession(1)
	x.want(message10(0, templateOfPairs))
	x.d.SetSession(0)
	x.want(message10(0, set(2, templateRecord(300, pair4...))))
	x.d.SetSession(1)
	y, _ := restarted(t, save(nil, x.d), now)
	y.want(message10(0, set(300, bytes4)), pairText)
	y.want(message10(1, set(256, bytes4)))
}
