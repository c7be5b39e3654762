package testbench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/detector/core"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// miniature is the least appliance that can be shown: the real decoder and the
// real contrast without anything in between.
type miniature struct {
	conn *net.UDPConn

	mu       sync.Mutex // guards all below
	received uint64
	newestMS int64
	number   map[netip.Addr]uint32
	links    map[[2]uint32]bool
	versions map[uint8]int
	router   map[[2]uint32]netip.AddrPort // that told of a link
	skip     uint64                       // pretend that every skip-th record was lost
	deaf     bool                         // find nothing
}

func newMiniature(t *testing.T) *miniature {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	m := &miniature{conn: conn, number: map[netip.Addr]uint32{}, links: map[[2]uint32]bool{}, versions: map[uint8]int{}, router: map[[2]uint32]netip.AddrPort{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.receive()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return m
}

func (m *miniature) receive() {
	d := decode.New(decode.Config{})
	buf := make([]byte, 1<<16)
	var records []flow.Record
	for {
		n, from, err := m.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		records = d.Decode(records[:0], from.Addr().Unmap(), buf[:n], time.Now().UnixMilli())
		m.mu.Lock()
		for _, r := range records {
			m.newestMS = max(m.newestMS, r.EndMS)
			m.versions[r.Version]++
			if m.received++; m.skip == 0 || m.received%m.skip != 0 {
				link := [2]uint32{m.host(r.Src), m.host(r.Dst)}
				m.links[link], m.router[link] = true, from
			}
		}
		m.mu.Unlock()
	}
}

func (m *miniature) host(a flow.Addr) uint32 {
	if _, ok := m.number[a.NetIP()]; !ok {
		m.number[a.NetIP()] = uint32(len(m.number))
	}
	return m.number[a.NetIP()]
}

func (m *miniature) NetFlow() netip.AddrPort       { return m.conn.LocalAddr().(*net.UDPAddr).AddrPort() }
func (m *miniature) Pseudonym(a netip.Addr) string { return "pseudonym of " + a.String() }

func (m *miniature) Received() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.skip > 0 {
		return m.received - m.received/m.skip
	}
	return m.received
}

func (m *miniature) WaitEpoch(_ context.Context, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// v9's export time has whole seconds, so its flows seem up to one older.
	if m.newestMS < t.UnixMilli()-1000 || m.newestMS > t.UnixMilli() {
		return fmt.Errorf("newest flow %d ms after the wanted time", m.newestMS-t.UnixMilli())
	}
	return nil
}

func (m *miniature) Suspects(context.Context) ([]Suspect, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return nil, nil
	}
	names := make([]string, len(m.number))
	for a, i := range m.number {
		names[i] = m.Pseudonym(a)
	}
	var src, dst []uint32
	for l := range m.links {
		src, dst = append(src, l[0]), append(dst, l[1])
	}
	r := core.Contrast(graph.FromLinks(len(names), src, dst), core.Params{Seed: 1})
	var all []Suspect
	for v, s := range r.Score {
		if s >= 1.5 {
			all = append(all, Suspect{Pseudonym: names[v], Score: s, Core: uint32(r.Core[v]), Evidence: []string{fmt.Sprint("keeps ", r.Core[v], " peers")}})
		}
	}
	slices.SortFunc(all, func(a, b Suspect) int { return cmp.Compare(b.Score, a.Score) })
	return all, nil
}

func smallDemo() DemoConfig {
	c := DefaultDemoConfig()
	c.Hosts = 12_000
	return c
}

func TestDemoFindsTheBotnet(t *testing.T) {
	m := newMiniature(t)
	var lines strings.Builder
	c := smallDemo()
	c.Progress = &lines
	r, err := Demo(t.Context(), c, m)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Found || r.TPR < .99 || r.FPR > .01 || r.Bots != 120 || r.Hosts != 12_000 {
		t.Errorf("TPR %v, FPR %v, %d bots, %d hosts, found %v: want the 120 bots of 12000", r.TPR, r.FPR, r.Bots, r.Hosts, r.Found)
	}
	if r.Lost != 0 || r.Flows != m.Received() || len(m.links) != r.Links {
		t.Errorf("%d records sent, %d received, %d lost; %d links of %d", r.Flows, m.Received(), r.Lost, len(m.links), r.Links)
	}
	for _, v := range []uint8{5, 9, 10} {
		if share := float64(m.versions[v]) / float64(r.Flows); share < .2 {
			t.Errorf("version %d: %.2f of the records, want about a third", v, share)
		}
	}
	for link, router := range m.router {
		if back, ok := m.router[[2]uint32{link[1], link[0]}]; ok && back != router {
			t.Fatalf("the two directions of a flow come from %v and %v", router, back)
		}
	}
	for _, w := range []string{"25 %", "50 %", "75 %", "100 %", "waiting for the epoch"} {
		if strings.Count(lines.String(), w) != 1 {
			t.Errorf("progress lacks %q or repeats it:\n%s", w, lines.String())
		}
	}
}

func TestDemoReportsWhatWentWrong(t *testing.T) {
	m := newMiniature(t)
	m.deaf, m.skip = true, 10
	r, err := Demo(t.Context(), smallDemo(), m)
	if err != nil {
		t.Fatal(err)
	}
	if r.Found || r.TPR != 0 {
		t.Errorf("nothing is suspected: found %v, TPR %v", r.Found, r.TPR)
	}
	if want := r.Flows / 10; r.Lost < want-1 || r.Lost > want+1 {
		t.Errorf("lost: got %d of %d, want %d", r.Lost, r.Flows, want)
	}
}

func TestDemoStopsWithItsContext(t *testing.T) {
	m := newMiniature(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c := smallDemo()
	c.Rate = 100
	begun := time.Now()
	if _, err := Demo(ctx, c, m); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

func result() DemoResult {
	r := DemoResult{Hosts: 1000, Bots: 18, Flows: 5000, Packets: 210, Links: 3000, TPR: 1, FPR: 2. / 982, Seconds: 12.3, Found: true}
	for i := range 20 {
		r.Suspects = append(r.Suspects, Suspect{Pseudonym: fmt.Sprintf("p1.1.host%d", i), Score: 3 - float64(i)/10, ClientRank: 7.25,
			ServerRank: 6.5, Core: 23, Cluster: 1, Bot: i < 18, Evidence: []string{"keeps 23 peers", "ranks high"}})
	}
	return r
}

func TestTableForPeople(t *testing.T) {
	var b bytes.Buffer
	if err := result().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if f := strings.Fields(lines[1]); f[0] != "p1.1.host0" || f[1] != "3.00" || f[2] != "7.2×" || f[3] != "6.5×" || f[4] != "1" ||
		!strings.HasSuffix(lines[1], "keeps 23 peers") {
		t.Errorf("first row: %q", lines[1])
	}
	for _, want := range []string{"… and 5 more", "found 18 of 18 bots (TPR 100.00 %) and 2 of 982 other hosts (FPR 0.204 %): the botnet was found",
		"5000 flow records in 210 packets about 1000 hosts"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "host15") {
		t.Error("table shows more than 15 suspects")
	}
	if err := result().WriteTable(brokenPipe{}); err == nil {
		t.Error("broken pipe: no error")
	}
}

// Issue 2 names the fields that programs may rely on.
func TestJSONForPrograms(t *testing.T) {
	var b bytes.Buffer
	if err := result().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{"hosts": 1000, "bots": 18, "flows": 5000, "tpr": 1, "fpr": 2. / 982, "seconds": 12.3} {
		if v, ok := got[key].(float64); !ok || math.Abs(v-want) > 1e-12 {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
	suspects := got["suspects"].([]any)
	if s := suspects[0].(map[string]any); len(suspects) != 20 || s["pseudonym"] != "p1.1.host0" || s["client_rank"] != 7.25 {
		t.Errorf("suspects: %d, first %v", len(suspects), s)
	}
	b.Reset()
	if err := (DemoResult{}).WriteJSON(&b); err != nil || !strings.Contains(b.String(), `"suspects": []`) {
		t.Errorf("no suspects: %v in %s, want an empty list", err, b.String())
	}
	if err := result().WriteJSON(brokenPipe{}); err == nil {
		t.Error("broken pipe: no error")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestTrafficArrives(t *testing.T) {
	m := newMiniature(t)
	c := DefaultTrafficConfig()
	c.Target, c.Hosts, c.Background, c.Botnet, c.Share = m.NetFlow(), 5000, "nop2p", "chord", .01
	c.Rounds, c.Rate = 2, 4000
	r, err := Traffic(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := awaitProgress(t.Context(), m.Received, r.Flows, time.Second); err != nil {
		t.Fatal(err)
	}
	if r.Flows == 0 || m.Received() != r.Flows || r.Bots != 50 || len(r.BotAddresses) != 50 {
		t.Errorf("sent %+v, received %d", r, m.Received())
	}
	m.mu.Lock()
	for _, a := range r.BotAddresses {
		if _, ok := m.number[a]; !ok {
			t.Errorf("bot %v: no flow received", a)
		}
	}
	m.mu.Unlock()

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	c.Rounds, c.Rate = 0, 100
	if r, err := Traffic(ctx, c); err != nil || r.Flows == 0 {
		t.Errorf("endless traffic until the context's end: %+v, %v", r, err)
	}
}
