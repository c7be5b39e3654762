package decode_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
)

// savedDecoder has templates of two exporters, both families, and samplers.
func savedDecoder(t testing.TB) *decode.Decoder {
	x := newTester(t, decode.Config{})
	x.decode(packet9(header{secs: secs, domain: 3}, set(0, templateRecord(256, with(pair4, field{id: 48, length: 1}, field{id: 2, length: 4})...)),
		set(1, optionsRecord9(260, []field{{id: 1, length: 4}}, []field{{id: 48, length: 1}, {id: 34, length: 2}})), set(260, u32(0), u8(1), u16(1000))))
	x.from(src6, packet10(header{secs: secs, domain: 1 << 31}, set(2, templateRecord(300, with(pair6, field{1, 65535, 9}, field{id: 1, length: 8})...)),
		set(3, optionsRecord10(301, []field{{id: 149, length: 4}}, []field{{id: 34, length: 4}})), set(301, u32(0), u32(50))), now)
	return x.d
}

// TestTemplatesSaved: a decoder that loads what another saved decodes data
// without having seen a template, with its sampling rates.
func TestTemplatesSaved(t *testing.T) {
	saved := savedDecoder(t).AppendTemplates(nil)
	x := newTester(t, decode.Config{})
	if err := x.d.LoadTemplates(saved); err != nil {
		t.Fatal(err)
	}
	four := x.decode(packet9(header{secs: secs, domain: 3}, set(256, bytes4, u8(1), u32(7))))
	six := x.from(src6, packet10(header{secs: secs, domain: 1 << 31}, set(300, bytes6, []byte("\x03abc"), u64(9))), now)
	if len(four) != 1 || four[0].Packets != 7000 || len(six) != 1 || six[0].Bytes != 450 || six[0].Src.NetIP() != src6 {
		t.Errorf("got %+v and %+v", four, six)
	}
	if s := x.d.Stats(); s.Templates != 0 || s.Exporters != 2 {
		t.Errorf("got %+v", s)
	}
	// What an exporter sent itself is newer than what was saved.
	y := newTester(t, decode.Config{})
	y.decode(packet9(header{secs: secs, domain: 3}, set(0, templateRecord(256, pair4...))))
	if err := y.d.LoadTemplates(saved); err != nil {
		t.Fatal(err)
	}
	if n := len(y.decode(packet9(header{secs: secs, domain: 3}, set(256, bytes4, bytes4)))); n != 2 {
		t.Errorf("got %d records by the newer template, want 2", n)
	}
}

// TestTemplatesCorrupt: every cut and every changed byte is noticed.
func TestTemplatesCorrupt(t *testing.T) {
	saved := savedDecoder(t).AppendTemplates(nil)
	for i := range saved {
		flipped := slices.Clone(saved)
		flipped[i] ^= 1
		for _, b := range [][]byte{saved[:i], flipped} {
			x := newTester(t, decode.Config{})
			if err := x.d.LoadTemplates(b); !errors.Is(err, decode.ErrTemplates) || x.d.Stats().Exporters != 0 {
				t.Fatalf("byte %d: got %v and %d exporters", i, err, x.d.Stats().Exporters)
			}
		}
	}
}

// FuzzLoadTemplates loads bytes whose checksum fits.
func FuzzLoadTemplates(f *testing.F) {
	saved := savedDecoder(f).AppendTemplates(nil)
	f.Add(saved[8 : len(saved)-4])
	f.Fuzz(func(t *testing.T, entries []byte) {
		x := newTester(t, decode.Config{})
		_ = x.d.LoadTemplates(decode.Sealed(entries))
		for _, p := range packetSet() {
			x.decode(p)
		}
		if err := x.d.LoadTemplates(x.d.AppendTemplates(nil)); err != nil {
			t.Error(err)
		}
	})
}
