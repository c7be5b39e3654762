package decode_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// namer stands for the keyed permutation.
func namer(a netip.Addr) (p flow.Pseudonym) {
	p = a.As16()
	for i := range p {
		p[i] ^= 0xa5
	}
	return p
}

// savedDecoder has templates of two exporters, both families, and samplers.
func savedDecoder(t testing.TB) *decode.Decoder {
	x := newTester(t, decode.Config{})
	x.decode(packet9(header{secs: secs, domain: 3}, set(0, templateRecord(256, with(pair4, field{id: 48, length: 1}, field{id: 2, length: 4})...)),
		set(1, optionsRecord9(260, []field{{id: 1, length: 4}}, []field{{id: 48, length: 1}, {id: 34, length: 2}})), set(260, u32(0), u8(1), u16(1000))))
	x.from(src6, packet10(header{secs: secs, domain: 1 << 31}, set(2, templateRecord(300, with(pair6, field{1, 65535, 9}, field{id: 1, length: 8})...)),
		set(3, optionsRecord10(301, []field{{id: 149, length: 4}}, []field{{id: 34, length: 4}})), set(301, u32(0), u32(50))), now)
	return x.d
}

func save(saved *decode.Saved, decoders ...*decode.Decoder) []byte {
	return decode.AppendSaved(nil, 1, namer, saved, decoders...)
}

// restarted returns a decoder that has what was saved.
func restarted(t *testing.T, saved []byte, nowMS int64) (tester, *decode.Saved) {
	t.Helper()
	s, err := decode.ReadSaved(saved, nowMS)
	if err != nil {
		t.Fatal(err)
	}
	return newTester(t, decode.Config{Saved: s, SavedName: namer}), s
}

// TestTemplatesSaved: a decoder that loads what another saved decodes data
// without having seen a template, with its sampling rates, and another that
// loads what that one saved does too.
func TestTemplatesSaved(t *testing.T) {
	saved := save(nil, savedDecoder(t))
	for round := range 3 {
		x, s := restarted(t, saved, now)
		if x.d.Stats().Exporters != 0 || s.Exporters() != 2 {
			t.Fatalf("round %d: %d exporters at the start, %d saved", round, x.d.Stats().Exporters, s.Exporters())
		}
		four := x.decode(packet9(header{secs: secs, domain: 3}, set(256, bytes4, u8(1), u32(7))))
		if round == 1 { // the other exporter is not heard, and yet kept
			saved = save(s, x.d)
			continue
		}
		six := x.from(src6, packet10(header{secs: secs, domain: 1 << 31}, set(300, bytes6, []byte("\x03abc"), u64(9))), now)
		if len(four) != 1 || four[0].Packets != 7000 || len(six) != 1 || six[0].Bytes != 450 || six[0].Src.NetIP() != src6 {
			t.Errorf("round %d: got %+v and %+v", round, four, six)
		}
		if st := x.d.Stats(); st.Templates != 0 || st.Exporters != 2 || st.Restored != 4 {
			t.Errorf("round %d: got %+v", round, st)
		}
		saved = save(s, x.d)
	}
	if b := exporterA.As16(); bytes.Contains(saved, b[:]) {
		t.Error("the exporter's address stands in what is saved")
	}
}

// TestTemplatesStale: what was saved gives way to what the exporter sends,
// and is forgotten after its restart and after a day of silence.
func TestTemplatesStale(t *testing.T) {
	d := newTester(t, decode.Config{})
	at := func(uptimeS, s uint32) header { return header{secs: secs + s, uptime: uptimeS * 1000, domain: 3} }
	d.decode(packet9(at(5000, 0), set(0, templateRecord(256, with(pair4, field{id: 2, length: 4})...))))
	saved := save(nil, d.d)
	f := func(what string, ms int64, want int, packets ...[]byte) {
		t.Helper()
		x, _ := restarted(t, saved, now)
		got := 0
		for _, p := range packets {
			got = len(x.from(exporterA, p, now+ms))
		}
		if got != want {
			t.Errorf("%s: got %d records, want %d", what, got, want)
		}
	}
	data := set(256, bytes4, u32(7))
	f("usable at once", 0, 1, packet9(at(5100, 100), data))
	f("after a wrap of the uptime", 0, 1, packet9(at(0, 4294967-5000), data))
	f("after a restart", 0, 0, packet9(at(10, 3600), data))
	f("after a restart, at the uptime that was saved", 0, 0, packet9(at(5000, 3600), data))
	f("another layout", 0, 2, packet9(at(5100, 100), set(0, templateRecord(256, pair4...))), packet9(at(5100, 100), set(256, bytes4, bytes4)))
	f("another domain", 0, 0, packet9(header{secs: secs, uptime: 5_000_000, domain: 4}, data))

	x, _ := restarted(t, saved, now)
	x.from(exporterA, packet9(at(5000, 0), data), now)
	x.d.ExpireStale(now + template.StaleMS)
	if n := x.d.Exporters(nil)[0].Templates; n != 1 {
		t.Errorf("%d templates within a day, want 1", n)
	}
	x.d.ExpireStale(now + template.StaleMS + 1)
	if n := x.d.Exporters(nil)[0].Templates; n != 0 || x.d.Stats().StaleForgotten != 1 {
		t.Errorf("%d templates after a day, want 0; %d counted, want 1", n, x.d.Stats().StaleForgotten)
	}
	if s, err := decode.ReadSaved(saved, now+template.StaleMS+1); err != nil || s.Exporters() != 0 {
		t.Errorf("file of yesterday: %v, %d exporters", err, s.Exporters())
	}
}

// TestRevision: times alone are no reason to save again, a template is.
func TestRevision(t *testing.T) {
	x := newTester(t, decode.Config{})
	tpl := packet9(header{secs: secs}, set(0, templateRecord(256, pair4...)))
	x.decode(tpl)
	r := x.d.Revision()
	x.decode(tpl)
	if x.d.Revision() != r {
		t.Error("a repetition changes the revision")
	}
	x.decode(packet9(header{secs: secs}, set(0, templateRecord(257, pair4...))))
	if x.d.Revision() == r {
		t.Error("a new template does not change the revision")
	}
}

// TestTemplatesCorrupt: every cut and every changed byte is noticed.
func TestTemplatesCorrupt(t *testing.T) {
	saved := save(nil, savedDecoder(t))
	for i := range saved {
		flipped := slices.Clone(saved)
		flipped[i] ^= 1
		for _, b := range [][]byte{saved[:i], flipped} {
			if _, err := decode.ReadSaved(b, now); !errors.Is(err, decode.ErrTemplates) {
				t.Fatalf("byte %d: got %v", i, err)
			}
		}
	}
}

// FuzzLoadTemplates loads bytes whose checksum fits.
func FuzzLoadTemplates(f *testing.F) {
	saved := save(nil, savedDecoder(f))
	f.Add(saved[9 : len(saved)-4])
	f.Fuzz(func(t *testing.T, entries []byte) {
		s, err := decode.ReadSaved(decode.Sealed(entries), now)
		if err != nil {
			return
		}
		x := newTester(t, decode.Config{Saved: s, SavedName: namer})
		for _, p := range packetSet() {
			x.decode(p)
			x.from(src6, p, now)
		}
		if _, err := decode.ReadSaved(save(s, x.d), now); err != nil {
			t.Error(err)
		}
	})
}
