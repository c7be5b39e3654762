package template_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/collector/template"
)

var key = template.MakeKey(template.IPFIX, 7, 256)

func TestKey(t *testing.T) {
	k := template.MakeKey(9, 0xffffffff, 65535)
	if k.Version() != 9 || k.Domain() != 0xffffffff || k.ID() != 65535 {
		t.Errorf("got %d %d %d", k.Version(), k.Domain(), k.ID())
	}
}

func compile(t *testing.T, fields ...template.Field) *template.Template {
	t.Helper()
	c, err := template.Compile(key, false, 0, fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompile: ops of fixed records.
func TestCompile(t *testing.T) {
	c := compile(t, template.Field{ID: 4, Length: 1}, template.Field{ID: 8, Length: 4}, template.Field{ID: 27, Length: 16},
		template.Field{ID: 1, Length: 8}, template.Field{ID: 12, Length: 4}, template.Field{ID: 999, Length: 3})
	want := []template.Op{
		{Offset: 1, Shift: 32, Slot: template.Src4},
		{Offset: 29, Shift: 32, Slot: template.Dst4},
		{Offset: 5, Shift: 0, Slot: template.Src6},
		{Offset: 0, Shift: 56, Slot: template.Proto},
		{Offset: 21, Shift: 0, Slot: template.Bytes},
	}
	if !slices.Equal(c.Ops, want) || c.Length != 36 || len(c.Runs) != 0 || !c.HasAddresses() || c.Has(template.Dst6) {
		t.Errorf("got %+v", c)
	}
}

// TestCompileVariable: a record of fixed runs between variable fields.
func TestCompileVariable(t *testing.T) {
	c := compile(t, template.Field{ID: 7, Length: 2}, template.Field{ID: 82, Length: 65535}, template.Field{ID: 83, Length: 65535},
		template.Field{ID: 11, Length: 2}, template.Field{ID: 4, Length: 1})
	want := []template.Op{
		{Offset: 0, Segment: 0, Shift: 48, Slot: template.SrcPort},
		{Offset: 0, Segment: 2, Shift: 48, Slot: template.DstPort},
		{Offset: 2, Segment: 2, Shift: 56, Slot: template.Proto},
	}
	if !slices.Equal(c.Ops, want) || c.Length != 7 || !slices.Equal(c.Runs, []uint16{2, 0}) || c.Tail != 3 {
		t.Errorf("got %+v", c)
	}
}

// TestCompilePreference: of several elements for one slot the best wins, of
// equal ones the first, and lengths that cannot be are passed over.
func TestCompilePreference(t *testing.T) {
	f := func(slot template.Slot, offset uint16, fields ...template.Field) {
		t.Helper()
		c := compile(t, fields...)
		if len(c.Ops) != 1 || c.Ops[0].Slot != slot || c.Ops[0].Offset != offset {
			t.Errorf("%+v: got %+v, want slot %d at %d", fields, c.Ops, slot, offset)
		}
	}
	f(template.Bytes, 0, template.Field{ID: 1, Length: 4}, template.Field{ID: 85, Length: 4}, template.Field{ID: 23, Length: 4})
	f(template.Bytes, 8, template.Field{ID: 23, Length: 4}, template.Field{ID: 85, Length: 4}, template.Field{ID: 1, Length: 4})
	f(template.Bytes, 0, template.Field{ID: 1, Length: 4}, template.Field{ID: 1, Length: 8})
	f(template.Bytes, 0, template.Field{ID: 1, Length: 8}, template.Field{ID: 1, Length: 0})
	f(template.Bytes, 9, template.Field{ID: 1, Length: 9}, template.Field{ID: 85, Length: 4})
	f(template.ReverseBytes, 0, template.Field{ID: 1, Length: 4, Enterprise: 29305}, template.Field{ID: 232, Length: 4})
	if c := compile(t, template.Field{ID: 150, Length: 4}, template.Field{ID: 152, Length: 8}, template.Field{ID: 21, Length: 4}); c.StartClock != template.UnixMillis || c.EndClock != template.Uptime {
		t.Errorf("clocks: got %d and %d", c.StartClock, c.EndClock)
	}
}

// TestCompileScopes: the scope types of v9 are numbers of their own, those of
// IPFIX are not.
func TestCompileScopes(t *testing.T) {
	fields := []template.Field{{ID: 1, Length: 4}, {ID: 34, Length: 4}}
	for version, want := range map[uint8]bool{9: false, 10: true} {
		c, err := template.Compile(template.MakeKey(version, 0, 256), true, 1, fields, nil)
		if err != nil || c.Has(template.Bytes) != want || !c.Has(template.Interval) || c.Length != 8 {
			t.Errorf("version %d: got %+v, %v", version, c, err)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	f := func(want error, fields ...template.Field) {
		t.Helper()
		if _, err := template.Compile(key, false, 0, fields, nil); !errors.Is(err, want) {
			t.Errorf("%d fields: got %v, want %v", len(fields), err, want)
		}
	}
	f(template.ErrEmpty)
	f(template.ErrEmpty, template.Field{ID: 8}, template.Field{ID: 12})
	f(template.ErrLimit, slices.Repeat([]template.Field{{ID: 1, Length: 1}}, 513)...)
	f(template.ErrLimit, template.Field{ID: 94, Length: 65534}, template.Field{ID: 95, Length: 2})
	f(template.ErrLimit, template.Field{ID: 94, Length: 65534}, template.Field{ID: 95, Length: 65535}, template.Field{ID: 95, Length: 65534})
	f(nil, template.Field{ID: 94, Length: 65534}, template.Field{ID: 95, Length: 1})
	f(nil, slices.Repeat([]template.Field{{ID: 1, Length: 65535}}, 512)...)
}

func words(ws ...uint16) (b []byte) {
	for _, w := range ws {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}

// TestNext: the walk of template sets, RFC 7011 §3.4 and RFC 3954 §5.2, §6.1.
func TestNext(t *testing.T) {
	f := func(name string, body []byte, version uint8, options bool, want string, wantErr error, wantRest int) {
		t.Helper()
		rec, rest, err := template.Next(body, version, options)
		got := fmt.Sprintf("id %d fields %d scopes %d bytes %d", rec.ID, rec.Fields, rec.Scopes, len(rec.Bytes))
		if got != want || !errors.Is(err, wantErr) || len(rest) != wantRest {
			t.Errorf("%s: got %s, rest %d, %v; want %s, rest %d, %v", name, got, len(rest), err, want, wantRest, wantErr)
		}
	}
	next := words(257, 1, 8, 4)
	two := append(words(256, 2, 8, 4, 12, 4), next...)
	f("v9", two, 9, false, "id 256 fields 2 scopes 0 bytes 12", nil, 8)
	f("IPFIX", two, 10, false, "id 256 fields 2 scopes 0 bytes 12", nil, 8)
	f("IPFIX enterprise", append(words(256, 1, 0x8001, 4, 0, 9), next...), 10, false, "id 256 fields 1 scopes 0 bytes 12", nil, 8)
	f("v9 has no enterprises", append(words(256, 1, 0x8001, 4), next...), 9, false, "id 256 fields 1 scopes 0 bytes 8", nil, 8)
	f("v9 options", append(words(256, 4, 8, 1, 4, 34, 4, 35, 1), next...), 9, true, "id 256 fields 3 scopes 1 bytes 18", nil, 8)
	f("IPFIX options", append(words(256, 2, 1, 149, 4, 34, 4), next...), 10, true, "id 256 fields 2 scopes 1 bytes 14", nil, 8)
	f("padding", make([]byte, 40), 10, false, "id 0 fields 0 scopes 0 bytes 0", nil, 0)
	f("short padding", make([]byte, 3), 10, false, "id 0 fields 0 scopes 0 bytes 0", nil, 0)
	f("withdrawal", append(words(256, 0), next...), 10, false, "id 256 fields 0 scopes 0 bytes 4", template.ErrWithdrawal, 8)
	f("options withdrawal", append(words(256, 0), next...), 10, true, "id 256 fields 0 scopes 0 bytes 4", template.ErrWithdrawal, 8)
	f("v9 without fields", append(words(256, 0), next...), 9, false, "id 256 fields 0 scopes 0 bytes 4", template.ErrEmpty, 8)
	f("no bytes", append(words(256, 1, 8, 0), next...), 9, false, "id 256 fields 1 scopes 0 bytes 8", template.ErrEmpty, 8)
	f("low id", append(words(255, 1, 8, 4), next...), 9, false, "id 255 fields 1 scopes 0 bytes 8", template.ErrMalformed, 8)
	f("count too high", words(256, 3, 8, 4, 12, 4), 9, false, "id 256 fields 3 scopes 0 bytes 0", template.ErrMalformed, 0)
	f("enterprise cut off", words(256, 1, 0x8001, 4, 0), 10, false, "id 256 fields 1 scopes 0 bytes 0", template.ErrMalformed, 0)
	f("more scopes than fields", words(256, 1, 2, 149, 4, 34, 4), 10, true, "id 256 fields 1 scopes 2 bytes 0", template.ErrMalformed, 0)
	f("options header cut off", words(256, 1), 10, true, "id 256 fields 0 scopes 0 bytes 0", template.ErrMalformed, 0)
	f("above the cap", append(append(words(256, 513), make([]byte, 513*4)...), next...), 9, false, "id 256 fields 513 scopes 0 bytes 2056", template.ErrLimit, 8)
	f("zeros then ones", append(make([]byte, 40), 1), 9, false, "id 0 fields 0 scopes 0 bytes 0", template.ErrMalformed, 0)
}

func TestCache(t *testing.T) {
	c := template.NewCache()
	raw := words(256, 1, 8, 4)
	one, _ := template.Compile(key, false, 0, []template.Field{{ID: 8, Length: 4}}, raw)
	if changed, evicted := c.Learn(one); changed || evicted || c.Lookup(key) != one || c.Size() != one.Size() {
		t.Errorf("first: changed %v, evicted %v, size %d", changed, evicted, c.Size())
	}
	if !c.Unchanged(key, false, slices.Clone(raw)) || c.Unchanged(key, true, raw) || c.Unchanged(key+1, false, raw) {
		t.Error("Unchanged does not compare kind, key and bytes")
	}
	two, _ := template.Compile(key, false, 0, []template.Field{{ID: 12, Length: 4}}, words(256, 1, 12, 4))
	if changed, _ := c.Learn(two); !changed || c.Lookup(key) != two || c.Len() != 1 {
		t.Error("a new layout does not replace the old one")
	}
	for i := range uint16(template.MaxTemplates) {
		tpl, _ := template.Compile(template.MakeKey(9, 0, 256+i), false, 0, []template.Field{{ID: 8, Length: 4}}, raw)
		if _, evicted := c.Learn(tpl); evicted != (i == template.MaxTemplates-1) {
			t.Fatalf("template %d: evicted %v", i, evicted)
		}
	}
	size := 0
	for _, tpl := range c.All() {
		size += tpl.Size()
	}
	if c.Len() != template.MaxTemplates || c.Lookup(key) != nil || c.Size() != size {
		t.Errorf("%d templates of %d bytes, want %d of %d without the oldest", c.Len(), c.Size(), template.MaxTemplates, size)
	}
	c.Forget(template.MakeKey(9, 0, 256))
	c.Forget(key)
	if c.Len() != template.MaxTemplates-1 || c.Size() != size-one.Size() {
		t.Errorf("after Forget: %d templates of %d bytes", c.Len(), c.Size())
	}
}

// TestStale: a template from before a restart serves until the exporter sends
// another, has restarted or was silent for a day; a repetition makes it sure.
func TestStale(t *testing.T) {
	const sentMS = 1000
	make := func(key template.Key, element uint16) *template.Template {
		tpl, err := template.Compile(key, false, 0, []template.Field{{ID: element, Length: 4}}, words(256, 1, element, 4))
		if err != nil {
			t.Fatal(err)
		}
		return tpl
	}
	other := template.MakeKey(9, 8, 256)
	fresh := func() *template.Cache {
		c := template.NewCache()
		c.Restore(make(key, 8), sentMS)
		c.Restore(make(other, 8), sentMS)
		return c
	}
	c := fresh()
	if c.Lookup(key) == nil || c.Len() != 2 {
		t.Fatal("a restored template is not known")
	}
	if n := c.ExpireStale(sentMS + template.StaleMS); n != 0 {
		t.Errorf("%d expired within a day, want 0", n)
	}
	if n := c.ExpireStale(sentMS + template.StaleMS + 1); n != 2 || c.Len() != 0 || c.Size() != 0 {
		t.Errorf("%d expired after a day, want 2; %d left of %d bytes", n, c.Len(), c.Size())
	}
	c = fresh()
	c.Tick(5000)
	if !c.Unchanged(key, false, words(256, 1, 8, 4)) {
		t.Fatal("the repetition is not the restored template")
	}
	if n := c.ForgetStale(template.IPFIX, key.Domain()); n != 0 {
		t.Errorf("%d of a repeated template forgotten with the restart, want 0", n)
	}
	if n := c.ForgetStale(9, 8); n != 1 || c.Lookup(other) != nil {
		t.Errorf("%d forgotten with the restart, want 1", n)
	}
	for _, sent := range c.Sent() {
		if sent != 5000 {
			t.Errorf("sent at %d, want 5000", sent)
		}
	}
	c = fresh()
	c.Learn(make(key, 12))
	c.Restore(make(key, 8), sentMS)
	if c.Lookup(key).Raw[5] != 12 {
		t.Error("a saved template replaced the one that was sent")
	}
}

// TestContest: a rival takes memory while it is one, and none after.
func TestContest(t *testing.T) {
	layout := func(fields ...uint16) *template.Template {
		raw, list := words(256, uint16(len(fields))), []template.Field{}
		for _, f := range fields {
			raw = append(raw, words(f, 4)...)
			list = append(list, template.Field{ID: f, Length: 4})
		}
		tpl, err := template.Compile(key, false, 0, list, raw)
		if err != nil {
			t.Fatal(err)
		}
		return tpl
	}
	one, two, three := layout(8), layout(8, 12), layout(8, 12, 1)
	c := template.NewCache()
	if _, ok := c.Contest(one); ok {
		t.Error("a new template is contested")
	}
	c.Learn(one)
	f := func(what string, size int, want, rival *template.Template) {
		t.Helper()
		if got, other := c.Find(key); got != want || other != rival || c.Size() != size {
			t.Errorf("%s: %d bytes, want %d; template or rival differ", what, c.Size(), size)
		}
	}
	c.Contest(two)
	f("one rival", one.Size()+two.Size(), one, two)
	c.Contest(three)
	f("another", one.Size()+three.Size(), one, three)
	c.Unchanged(key, false, one.Raw)
	f("repeated", one.Size(), one, nil)
	c.Contest(two)
	for range 3 {
		if c.Vote(key, true) != nil {
			t.Error("settled too early")
		}
	}
	if c.Vote(key, true) != two {
		t.Error("four votes do not settle")
	}
	f("outvoted", two.Size(), two, nil)
	c.Contest(one)
	if settled, ok := c.Contest(one); settled != one || !ok {
		t.Error("a second sighting does not settle")
	}
	f("sent twice", one.Size(), one, nil)
	c.Contest(three)
	c.Forget(key)
	f("forgotten", 0, nil, nil)
}

func TestSamplers(t *testing.T) {
	c := template.NewCache()
	if c.SamplerRate(9, 1, 1) != 0 || c.DomainRate(9, 1) != 0 {
		t.Error("an empty cache knows rates")
	}
	c.SetSampler(9, 1, 1, 100)
	c.SetDomainRate(9, 1, 200)
	if c.SamplerRate(9, 1, 1) != 100 || c.SamplerRate(9, 2, 1) != 0 || c.SamplerRate(10, 1, 1) != 0 || c.DomainRate(9, 1) != 200 {
		t.Error("rates of version, domain and id are mixed")
	}
	for i := range uint64(2 * template.MaxSamplers) {
		if ok := c.SetSampler(9, 3, i, 5); ok != (i < template.MaxSamplers-2) {
			t.Fatalf("sampler %d: kept %v", i, ok)
		}
	}
	if !c.SetSampler(9, 1, 1, 7) || c.SamplerRate(9, 1, 1) != 7 {
		t.Error("a known sampler cannot change in a full cache")
	}
}

// FuzzNext walks sets: it ends, stays inside, and what it calls whole is.
func FuzzNext(f *testing.F) {
	f.Add(words(256, 2, 8, 4, 12, 4, 257, 1, 0x8001, 4, 0, 9), uint8(10), false)
	f.Add(words(256, 4, 8, 1, 4, 34, 4, 35, 1), uint8(9), true)
	f.Add(words(256, 0, 257, 2, 1, 149, 4, 34, 4), uint8(10), true)
	f.Fuzz(func(t *testing.T, body []byte, version uint8, options bool) {
		body = body[:len(body):len(body)]
		for len(body) > 0 {
			rec, rest, err := template.Next(body, 9+version%2, options)
			if len(rest) >= len(body) {
				t.Fatalf("no progress: %d of %d bytes left", len(rest), len(body))
			}
			if err == nil && len(rec.Bytes) > 0 && (rec.Fields < 1 || rec.Fields > template.MaxFields || len(rec.Bytes) < 4+4*rec.Fields || rec.ID < 256) {
				t.Fatalf("got %+v", rec)
			}
			body = rest
		}
	})
}
