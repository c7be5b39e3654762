package collector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// ipfix returns the messages of n records between hosts that come again.
func ipfix(t *testing.T, n int, nowMS int64, mtu int) (messages [][]byte) {
	t.Helper()
	e, err := exporter.New(exporter.Config{Protocol: exporter.IPFIX, BootMS: nowMS - 1e6, MTU: mtu, TemplateEvery: 1 << 30, Sampling: 10})
	if err != nil {
		t.Fatal(err)
	}
	emit := func(b []byte) error {
		data := make([]byte, len(b), len(b)+listen.Slack)
		copy(data, b)
		messages = append(messages, data)
		return nil
	}
	for i := range n {
		r := flow.Record{Src: flow.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(i % 7), byte(i % 251)})),
			Dst: flow.AddrFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i%83)})), Packets: 10 * uint64(1+i%5), Bytes: 1000,
			StartMS: nowMS - 1000, EndMS: nowMS - int64(i%500), SrcPort: 5000, DstPort: uint16(i % 3), Proto: 6, Sampling: 10}
		if i%10 == 0 {
			r.Src = flow.AddrFrom(netip.MustParseAddr("2001:db8:1:1::a"))
			r.Dst = flow.AddrFrom(netip.MustParseAddr("2001:db8:2:2::b"))
			r.DstPort = 443 // a contact keeps one port, and Kafka no order
		}
		if err := e.Add(&r, nowMS, emit); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(nowMS, emit); err != nil {
		t.Fatal(err)
	}
	return messages
}

// certify writes a certificate for 127.0.0.1 that is its own authority and
// returns the settings that use it for both sides, and an exporter's.
func certify(t *testing.T) (SessionTLS, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, kind string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	s := SessionTLS{Certificate: put("cert", "CERTIFICATE", der), Key: put("key", "PRIVATE KEY", secret)}
	s.ClientCA = s.Certificate
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	return s, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// eventually waits for something that must come; sockets keep to no bubble.
func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("never: %s", what)
}

func multiset(contacts []flow.Contact) map[flow.Contact]int {
	m := make(map[flow.Contact]int)
	for _, c := range contacts {
		m[c]++
	}
	return m
}

// An IPFIX stream gives the same contacts over UDP, over TCP and over TLS.
func TestSessionsGiveTheContactsOfUDP(t *testing.T) {
	const n = 5000
	files, client := certify(t)
	keys := filepath.Join(t.TempDir(), "keys")
	messages := ipfix(t, n, time.Now().UnixMilli(), 0)
	run := func(config func(*Config), send func(r *rig)) map[flow.Contact]int {
		t.Helper()
		r := startRig(t, setup{keys: keys, config: func(c *Config) {
			c.Exporters = []Exporter{{Name: "edge", From: []Prefix{{netip.MustParsePrefix("127.0.0.1/32")}}}}
			c.Contacts = 1 << 16 // one flush: the same contacts whatever came when
			config(c)
		}})
		send(r)
		r.eventually("all records", func() bool { return r.metric("records_total") == n })
		list := r.Exporters()
		if len(list) != 1 || list[0].Name != "edge" || list[0].Records != n || list[0].Lost != 0 || list[0].Sampling != 10 ||
			list[0].Packets != uint64(len(messages)) {
			t.Errorf("exporters: %+v", list)
		}
		r.stop()
		r.conserved()
		return multiset(paired(t, r.log.read(t).contacts))
	}
	over := func(dial func(address string) (net.Conn, error)) func(*rig) {
		return func(r *rig) {
			t.Helper()
			c, err := dial(r.ListeningSessions()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if _, err := c.Write(m); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := run(func(*Config) {}, func(r *rig) {
		for _, m := range messages {
			r.sources[0].feed(listen.Packet{From: netip.MustParseAddrPort("127.0.0.1:9999"), Data: m})
		}
	})
	tcp := run(func(c *Config) { c.Sessions.Listen = []string{"127.0.0.1:0"} },
		over(func(address string) (net.Conn, error) { return net.Dial("tcp", address) }))
	secure := run(func(c *Config) { c.Sessions.Listen, c.Sessions.TLS = []string{"127.0.0.1:0"}, files },
		over(func(address string) (net.Conn, error) { return tls.Dial("tcp", address, client) }))
	if len(want) < 1000 {
		t.Fatalf("%d contacts over UDP", len(want))
	}
	if !maps.Equal(tcp, want) {
		t.Errorf("TCP gave %d contacts, UDP %d, or others", len(tcp), len(want))
	}
	if !maps.Equal(secure, want) {
		t.Errorf("TLS gave %d contacts, UDP %d, or others", len(secure), len(want))
	}
}

// While the log does not answer, exporters over TCP wait and lose nothing;
// those over UDP are taken as ever.
func TestSessionsWaitForTheLog(t *testing.T) {
	r := startRig(t, setup{config: func(c *Config) {
		c.Sessions.Listen = []string{"127.0.0.1:0"}
		c.Flush, c.Queue = 100*time.Millisecond, 40_000
	}})
	r.log.setFault(func(int, string) fault { return refuses })
	messages := ipfix(t, 20_000, time.Now().UnixMilli(), 0)
	c, err := net.Dial("tcp", r.ListeningSessions()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		defer c.Close()
		for range 8 {
			for _, m := range messages {
				if _, err := c.Write(m); err != nil {
					sent <- err
					return
				}
			}
		}
		sent <- nil
	}()
	r.eventually("a full queue", func() bool { return r.metric("queue_contacts") > 20_000 })
	time.Sleep(300 * time.Millisecond) // what was in hand is flushed
	before := r.metric("records_total")
	time.Sleep(300 * time.Millisecond)
	if after := r.metric("records_total"); after != before {
		t.Errorf("%v records taken while the log does not answer", after-before)
	}
	r.sources[0].feed(r.v5("192.0.2.200", record{src: "10.9.9.9", dst: "10.8.8.8"}))
	if after := r.metric("records_total"); after != before+1 {
		t.Errorf("UDP gave %v records, want 1", after-before)
	}
	r.log.setFault(nil)
	r.eventually("all of the session", func() bool { return r.metric("records_total") == 8*20_000+1 })
	if err := <-sent; err != nil {
		t.Error(err)
	}
	r.stop()
	r.conserved()
	if n := r.metric("dropped_records_total"); n != 0 {
		t.Errorf("%v records dropped", n)
	}
}

// Refused sources are listed as those of UDP are, what is no IPFIX is logged
// without an address, and a reload changes who may come.
func TestSessionsAccess(t *testing.T) {
	allowed := []Exporter{{Name: "edge", From: []Prefix{{netip.MustParsePrefix("127.0.0.1/32")}}}}
	other := []Exporter{{Name: "edge", From: []Prefix{{netip.MustParsePrefix("192.0.2.1/32")}}}}
	r := startRig(t, setup{config: func(c *Config) {
		c.Sessions.Listen, c.Exporters = []string{"127.0.0.1:0"}, other
	}})
	defer r.stop()
	send := func(b []byte) {
		c, err := net.Dial("tcp", r.ListeningSessions()[0].String())
		if err != nil {
			return // refused before we looked
		}
		defer c.Close()
		_, _ = c.Write(b)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Read(make([]byte, 1))
	}
	send(ipfix(t, 1, r.nowMS(), 0)[0])
	r.eventually("a refusal", func() bool { return r.metric("sessions_refused_total", "exporter") == 1 })
	if list := r.Refused(); len(list) != 1 || strings.Contains(list[0].Name, "127") {
		t.Errorf("refused: %+v", list)
	}
	cfg := r.cfg
	cfg.Exporters = allowed
	if err := r.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	send([]byte("GET / HTTP/1.1\r\n\r\n"))
	r.eventually("the end", func() bool { return r.metric("sessions_ended_total", "version") == 1 })
	r.eventually("a line", func() bool { return strings.Contains(r.logs.String(), "exporter=edge reason=version") })
	if strings.Contains(r.logs.String(), "127.0.0.1") {
		t.Errorf("an address in the log: %s", r.logs)
	}
	if got := r.metric("sessions_accepted_total"); got != 2 {
		t.Errorf("%v accepted", got)
	}
}
