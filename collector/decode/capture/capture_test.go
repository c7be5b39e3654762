package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/collector/decode/capture"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/peer"
)

var be = binary.BigEndian

// message5 is a v5 message of n records.
func message5(n int) []byte {
	b := make([]byte, 24+48*n)
	be.PutUint16(b, 5)
	be.PutUint16(b[2:], uint16(n))
	for i := range n {
		copy(b[24+48*i:], []byte{198, 51, 100, 7, 203, 0, 113, byte(i)})
	}
	return b
}

// message10 is an IPFIX message of sets.
func message10(sets ...[]byte) []byte {
	b := make([]byte, 16)
	be.PutUint16(b, 10)
	for _, s := range sets {
		b = append(b, s...)
	}
	be.PutUint16(b[2:], uint16(len(b)))
	return b
}

var (
	// template256 has two IPv4 addresses, data256 one record of it.
	template256 = []byte{0, 2, 0, 16, 1, 0, 0, 2, 0, 8, 0, 4, 0, 12, 0, 4}
	data256     = []byte{1, 0, 0, 12, 198, 51, 100, 7, 203, 0, 113, 9}
)

// ipUDP puts a datagram of 192.0.2.1 into an IPv4 packet.
func ipUDP(payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0x08, 0x07, 0, 0, 0, 0}
	b = append(b, payload...)
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint16(b[24:], uint16(8+len(payload)))
	return b
}

// frames are a packet behind the headers of each link type.
func frames(link uint32, ip []byte) []byte {
	switch link {
	case 1:
		return append(append(make([]byte, 12), 8, 0), ip...)
	case 0:
		return append([]byte{2, 0, 0, 0}, ip...)
	case 113:
		return append(append(make([]byte, 14), 8, 0), ip...)
	case 276:
		return append(append([]byte{8, 0}, make([]byte, 18)...), ip...)
	}
	return ip
}

func pcap(order binary.AppendByteOrder, magic, link uint32, packets ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2) // version 2.4
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 1<<16)
	b = order.AppendUint32(b, link)
	for _, p := range packets {
		p = frames(link, p)
		for _, v := range []uint32{1_700_000_000, 5, uint32(len(p)), uint32(len(p))} {
			b = order.AppendUint32(b, v)
		}
		b = append(b, p...)
	}
	return b
}

func pcapNG(order binary.AppendByteOrder, link uint32, packets ...[]byte) (b []byte) {
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		b = order.AppendUint32(b, kind)
		b = order.AppendUint32(b, uint32(12+len(body)))
		b = append(b, body...)
		b = order.AppendUint32(b, uint32(12+len(body)))
	}
	block(0x0a0d0d0a, append(order.AppendUint32(nil, 0x1a2b3c4d), make([]byte, 12)...))
	block(1, append(order.AppendUint16(nil, uint16(link)), make([]byte, 6)...))
	for i, p := range packets {
		p = frames(link, p)
		head := order.AppendUint32(nil, uint32(len(p)))
		kind := uint32(3)
		if i%2 == 0 {
			kind = 6
			head = order.AppendUint32(make([]byte, 12), uint32(len(p)))
			head = order.AppendUint32(head, uint32(len(p)))
		}
		block(kind, append(head, p...))
	}
	return b
}

// write stores files and returns their names.
func write(t testing.TB, files map[string][]byte, names ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, files[name], 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// TestFormats: all forms of captures give the same records of the same
// exporter.
func TestFormats(t *testing.T) {
	packets := [][]byte{ipUDP(message5(2)), ipUDP(message10(template256, data256)), {0x45, 0}}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, link := range []uint32{0, 1, 12, 101, 228, 113, 276} {
			for name, b := range map[string][]byte{
				"usec": pcap(order, 0xa1b2c3d4, link, packets...),
				"nsec": pcap(order, 0xa1b23c4d, link, packets...),
				"ng":   pcapNG(order, link, packets...),
			} {
				var exporters []netip.Addr
				records := 0
				counts, err := capture.Decode(write(t, map[string][]byte{"f": b}, "f"), func(e netip.Addr, recs []flow.Record) error {
					exporters = append(exporters, e)
					records += len(recs)
					return nil
				})
				if err != nil || counts[0].Packets != 2 || counts[0].Records != 3 || counts[0].Templates != 1 || records != 3 ||
					fmt.Sprint(exporters) != "[192.0.2.1 192.0.2.1]" {
					t.Errorf("%v %s link %d: got %+v, %d records of %v, %v", order, name, link, counts, records, exporters, err)
				}
			}
		}
	}
}

// TestBadFiles: what cannot be read is an error of one line with the place.
func TestBadFiles(t *testing.T) {
	f := func(b []byte, want string) {
		t.Helper()
		_, err := capture.Decode(write(t, map[string][]byte{"f": b}, "f"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	good := pcap(binary.LittleEndian, 0xa1b2c3d4, 1, ipUDP(message5(1)))
	f(good[:len(good)-1], "byte 24: packet reaches past the end")
	f(pcap(binary.LittleEndian, 0xa1b2c3d4, 147, nil), "byte 20: unknown link type")
	ng := pcapNG(binary.LittleEndian, 1, ipUDP(message5(1)))
	f(ng[:len(ng)-1], "block reaches past the end")
	if _, err := capture.Decode([]string{filepath.Join(t.TempDir(), "absent")}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: got %v", err)
	}
}

// TestRaw: concatenated messages are split by their own lengths, and a length
// that lies does not cut a message in two.
func TestRaw(t *testing.T) {
	f := func(name string, b []byte, packets, records uint64) {
		t.Helper()
		counts, err := capture.Decode(write(t, map[string][]byte{"f.bin": b}, "f.bin"), nil)
		if err != nil || counts[0].Packets != packets || counts[0].Records != records {
			t.Errorf("%s: got %+v, %v; want %d packets, %d records", name, counts, err, packets, records)
		}
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	ipfix := message10(template256, data256)
	f("empty", nil, 0, 0)
	f("v5", cat(message5(2), message5(3)), 2, 5)
	f("IPFIX", cat(ipfix, ipfix, ipfix), 3, 3)
	f("mixed", cat(message5(1), ipfix, message5(1)), 3, 3)
	lying := message5(30)
	be.PutUint16(lying[2:], 7)
	f("v5 count too low", lying, 1, 7)
	be.PutUint16(lying[2:], 65535)
	f("v5 count too high", lying, 1, 30)
	short := cat(ipfix)
	be.PutUint16(short[2:], uint16(len(short)-2))
	f("IPFIX length too low", short, 1, 1)
	f("three bytes", []byte{0, 10, 0}, 1, 0)
}

// TestScopes: raw files that belong together share templates, others do not,
// and data before its template counts for its own file.
func TestScopes(t *testing.T) {
	files := map[string][]byte{
		"a_data1.dat": message10(data256), "a_data2.dat": message10(data256, data256), "a_tpl.dat": message10(template256),
		"b_data.dat": message10(data256), "b_opttpl.dat": message10(),
		"c.dat": message10(data256), "d.dat": message10(template256),
	}
	counts, err := capture.Decode(write(t, files, "a_data1.dat", "a_data2.dat", "a_tpl.dat", "b_data.dat", "b_opttpl.dat", "c.dat", "d.dat"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range counts {
		got = append(got, fmt.Sprintf("%s %d %d %v", filepath.Base(c.File), c.Records, c.Templates, c.Errors))
	}
	want := []string{
		"a_data1.dat 1 0 map[]", "a_data2.dat 2 0 map[]", "a_tpl.dat 0 1 map[]",
		"b_data.dat 0 0 map[no_template:1]", "b_opttpl.dat 0 0 map[]",
		"c.dat 1 0 map[]", "d.dat 0 1 map[]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestJSON: the line of a record is JSON with the promised fields in order.
func TestJSON(t *testing.T) {
	r := flow.Record{
		Src: flow.AddrFrom(netip.MustParseAddr("198.51.100.7")), Dst: flow.AddrFrom(netip.MustParseAddr("2001:db8::1")),
		Packets: 1, Bytes: 1<<64 - 1, StartMS: -1, EndMS: 2, Sampling: 3, SrcPort: 4, DstPort: 5, Proto: 6, TCPFlags: 7, Version: 9,
	}
	line := string(capture.AppendJSON(nil, netip.MustParseAddr("192.0.2.1"), &r))
	want := `{"exporter":"192.0.2.1","version":9,"src":"198.51.100.7","dst":"2001:db8::1","src_port":4,"dst_port":5,"proto":6,` +
		`"packets":1,"bytes":18446744073709551615,"start_ms":-1,"end_ms":2,"tcp_flags":7,"sampling":3}`
	if line != want || !json.Valid([]byte(line)) {
		t.Errorf("got %s\nwant %s", line, want)
	}
	r.Version = flow.VersionSFlow
	if line = string(capture.AppendJSON(nil, netip.MustParseAddr("192.0.2.1"), &r)); !strings.Contains(line, `"version":"sflow5"`) {
		t.Errorf("got %s", line)
	}
}

// FuzzDecode reads any file.
func FuzzDecode(f *testing.F) {
	f.Add(pcap(binary.LittleEndian, 0xa1b2c3d4, 1, ipUDP(message5(1))))
	f.Add(pcap(binary.BigEndian, 0xa1b23c4d, 276, ipUDP(message5(1))))
	f.Add(pcapNG(binary.LittleEndian, 1, ipUDP(message5(1)), ipUDP(message10(template256, data256))))
	f.Add(append(message5(1), message10(template256, data256)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		count, err := capture.DecodeBytes("f", b, func(netip.Addr, []flow.Record) error { return nil })
		if err == nil && count.Packets > uint64(len(b)) {
			t.Errorf("%d packets in %d bytes", count.Packets, len(b))
		}
	})
}

// TestOracleTshark compares the number of data and options records of every
// group of captures with what tshark finds.
func TestOracleTshark(t *testing.T) {
	tshark := peer.Need(t, "tshark")
	// Groups in which tshark counts otherwise, and why.
	skip := map[string]string{
		"netflow5_test_invalid01": "tshark believes the count",
		"netflow5_test_invalid02": "tshark believes the count",
		"netflow9_test_invalid01": "tshark stops at the count",
		"netflow9_test_h3c":       "tshark 4.0 reads one record of 16 that goflow2 reads",
		"ipfix_test_ixia":         "tshark 4.0 reads none of three that goflow2 reads",
	}
	compared := 0
	for _, w := range index(t) {
		if skip[w.group] != "" || w.flows+w.counters+w.others > 0 || w.source == "tcpdump" {
			continue
		}
		var datagrams [][]byte
		for _, file := range w.files {
			messages, err := capture.Messages(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				datagrams = append(datagrams, ipUDP(m))
			}
		}
		path := write(t, map[string][]byte{"f.pcap": pcap(binary.LittleEndian, 0xa1b2c3d4, 1, datagrams...)}, "f.pcap")[0]
		out, err := exec.Command(tshark, "-r", path, "-V").Output()
		if err != nil {
			t.Fatalf("%s: tshark: %v", w.group, err)
		}
		got := uint64(0)
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if _, n, ok := strings.Cut(line, "Flow "); ok && strings.HasPrefix(line, "Flow ") || strings.HasPrefix(line, "pdu ") {
				if strings.HasPrefix(line, "pdu ") {
					n = strings.TrimPrefix(line, "pdu ")
				}
				n, _, _ = strings.Cut(n, "/")
				if _, err := strconv.Atoi(strings.TrimSpace(n)); err == nil {
					got++
				}
			}
		}
		compared++
		if got != w.records+w.options {
			t.Errorf("%s: tshark sees %d records, INDEX.md %d", w.group, got, w.records+w.options)
		}
	}
	t.Logf("compared %d groups", compared)
}
