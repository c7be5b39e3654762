package exporter

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/peer"
)

// sessions are flow records that a biflow meter joins in pairs, ending from
// fromMS on.
func sessions(n int, fromMS int64) []flow.Record {
	rs := make([]flow.Record, 0, 2*n)
	for i := range n {
		r := flow.Record{Proto: 6, TCPFlags: flow.TCPSyn | flow.TCPAck | flow.TCPFin, DstPort: 443,
			SrcPort: uint16(40_000 + i), Packets: uint64(1 + i%5), EndMS: fromMS + int64(i)}
		r.Src, r.Dst = host(i, 0x0a000000), host(i%7, 0xc6120000)
		if i%4 == 3 {
			r.Proto, r.TCPFlags, r.DstPort = 17, 0, 6881
			r.Src[0], r.Dst[0] = 0x20, 0x20 // 2000::, no longer mapped IPv4
		}
		r.Bytes = r.Packets * uint64(60+i%1000)
		rs = append(rs, r)
		if i%10 != 0 {
			r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, r.DstPort, r.SrcPort
			rs = append(rs, r)
		}
	}
	return rs
}

func host(i int, base uint32) flow.Addr {
	x := base + uint32(i) + 1
	return flow.AddrFrom(netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}))
}

// metered is what a meter can tell about a flow of [WriteTraffic].
func metered(rs []flow.Record, most uint64) []flow.Record {
	var out []flow.Record
	for _, r := range rs {
		smallest := uint64(frameLength(!r.Src.Is4(), r.Proto) - ethernetLength)
		length := max(r.Bytes/r.Packets, smallest)
		packets := min(r.Packets, most)
		out = append(out, flow.Record{Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, Packets: packets, Bytes: packets * length})
	}
	slices.SortFunc(out, order)
	return out
}

// softflowd, a real exporter, finds exactly the flows that were written. What
// it needs: -m above the number of flows, or it expires some early; -d, or it
// forks; packets of about now, because v9's times count from its own start,
// and -A milli for absolute times in IPFIX; a -p file of its own; -c none,
// because with -r it looks at a result of poll that it did not ask for and may
// wait for a control connection for ever. The whole file goes out in one burst
// at its end, which the receive buffer must hold.
func TestSoftflowdFindsTheFlows(t *testing.T) {
	softflowd := peer.Need(t, "softflowd")
	from := time.Now().UnixMilli() - 10_000
	rs := sessions(2000, from)
	dir := t.TempDir()
	file := filepath.Join(dir, "traffic.pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	written, err := WriteTraffic(f, slices.Values(rs), 3)
	if err != nil || f.Close() != nil || written.Records != uint64(len(rs)) {
		t.Fatalf("wrote %+v, %v; want %d records", written, err, len(rs))
	}
	for version, p := range map[string]Protocol{"9": NetFlow9, "10": IPFIX} {
		sink := newSink(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, softflowd, "-r", file, "-n", sink.addr().String(), "-v", version, "-d", "-A", "milli",
			"-m", strconv.Itoa(len(rs)), "-p", filepath.Join(dir, "pid"), "-c", "none")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("softflowd: %v\n%s", err, out)
		}
		if w := fmt.Sprintf("(%d records)", len(rs)); !strings.Contains(string(out), w) {
			t.Errorf("version %s: softflowd does not report %s:\n%s", version, w, out)
		}
		got := decodeAll(t, p, sink.packets(t)).records
		for _, r := range got {
			// v9's export time has whole seconds, so up to one is missing.
			if r.EndMS < from-1000 || r.EndMS > from+2000 || r.StartMS < from-1000 || r.StartMS > r.EndMS {
				t.Fatalf("version %s: flow of %d … %d ms after the first one's end", version, r.StartMS-from, r.EndMS-from)
			}
		}
		compare(t, "softflowd "+version, metered(got, 1<<62), metered(rs, 3))
	}
}

func compare(t *testing.T, what string, got, want []flow.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d records, want %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s record %d:\n got %+v %v\nwant %+v %v", what, i, got[i], got[i].Src.NetIP(), want[i], want[i].Src.NetIP())
		}
	}
}

// tshark reads every packet without complaint and the same number of records,
// packets and bytes from it.
func TestTsharkAgrees(t *testing.T) {
	path := peer.Need(t, "tshark")
	for _, p := range Protocols {
		sent := sessions(300, nowMS-300)
		if p == NetFlow5 {
			sent = slices.DeleteFunc(sent, func(r flow.Record) bool { return !r.Src.Is4() })
		}
		packets, _ := encode(t, Config{Protocol: p, BootMS: bootMS, Domain: 7}, sent)
		file := filepath.Join(t.TempDir(), "export.pcap")
		writeDatagrams(t, file, packets)
		fields := []string{"cflow.protocol", "cflow.packets", "cflow.octets"}
		if p == SFlow { // the sampled frames' own lengths are not asked for
			fields = []string{"sflow_245.header_protocol", "sflow.flow_sample.sampling_rate"}
		}
		sums := tshark(t, path, file, fields)
		want := make([]uint64, 3)
		for _, r := range sent {
			want[0] += uint64(r.Proto)
			want[1] += r.Packets
			want[2] += r.Bytes
		}
		if p == SFlow {
			want = []uint64{uint64(len(sent)), want[1]} // header protocol 1: Ethernet
		}
		if !slices.Equal(sums, want) {
			t.Errorf("%s: tshark sums %v of %v, want %v", p, sums, fields, want)
		}
	}
}

// tshark returns the sum of each field over a capture and fails on packets
// that it calls malformed.
func tshark(t *testing.T, path, file string, fields []string) []uint64 {
	t.Helper()
	args := []string{"-r", file, "-d", "udp.port==2055,cflow", "-d", "udp.port==6343,sflow", "-T", "fields", "-e", "_ws.malformed"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	sums := make([]uint64, len(fields))
	for line := range strings.Lines(string(out)) {
		columns := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if columns[0] != "" {
			t.Fatalf("tshark calls a packet malformed: %s", line)
		}
		for i, column := range columns[1:] {
			for v := range strings.SplitSeq(column, ",") {
				if n, err := strconv.ParseUint(v, 10, 64); err == nil {
					sums[i] += n
				} else if v != "" {
					t.Fatalf("tshark: field %s: %q", fields[i], v)
				}
			}
		}
	}
	return sums
}

// writeDatagrams writes export packets as UDP to port 2055, sFlow to 6343.
func writeDatagrams(t *testing.T, file string, packets [][]byte) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPcap(f)
	if err != nil {
		t.Fatal(err)
	}
	r := flow.Record{Src: host(1, 0x7f000000), Dst: host(0, 0x7f000000), SrcPort: 40_000, DstPort: 2055, Proto: 17}
	for i, b := range packets {
		if be.Uint16(b) == 0 { // sFlow's version has four bytes
			r.DstPort = 6343
		}
		frame := append(appendFrame(nil, &r, 28+len(b)), b...)
		if err := p.Frame(nowMS*1000+int64(i), frame, len(frame)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
