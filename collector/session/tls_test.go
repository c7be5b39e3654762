package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue returns a certificate for 127.0.0.1 that is good until a time.
func (a *authority) issue(until time.Time) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// files writes the files of a server, whose clients must be of clients (nil:
// anybody).
func files(t *testing.T, dir string, server tls.Certificate, clients *authority) TLS {
	t.Helper()
	put := func(name, kind string, der []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	f := TLS{Certificate: put("cert.pem", "CERTIFICATE", server.Certificate[0]), Key: put("key.pem", "PRIVATE KEY", key)}
	if clients != nil {
		f.ClientCA = put("clients.pem", "CERTIFICATE", clients.cert.Raw)
	}
	return f
}

// exporter sends one message by TLS, whatever comes of it.
func (r *rig) exporter(cfg *tls.Config) (tls.ConnectionState, error) {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.Addresses()[0].String(), cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if _, err := c.Write(message(20, 7)); err != nil {
		return tls.ConnectionState{}, err
	}
	// The server's word on our certificate comes after our first bytes.
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

// RFC 7011 §11.3: both sides prove who they are.
func TestRFC7011Section113MutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	cfg := testConfig()
	cfg.TLS = files(t, t.TempDir(), ours.issue(soon), ours)
	r := start(t, cfg, nil)
	refused, messages := uint64(0), uint64(0)
	f := func(what string, good bool, change func(*tls.Config)) {
		t.Helper()
		c := &tls.Config{RootCAs: ours.pool(), Certificates: []tls.Certificate{ours.issue(soon)}}
		change(c)
		state, err := r.exporter(c)
		if good != (err == nil) {
			t.Errorf("%s: %v", what, err)
		}
		if good {
			messages++
			if state.Version != tls.VersionTLS13 {
				t.Errorf("%s: TLS version %x", what, state.Version)
			}
		} else {
			refused++
		}
		r.eventually(what, func() bool {
			s := r.Stats()
			return s.Messages == messages && s.Refused[RefusedHandshake] == refused
		})
	}
	f("our certificate", true, func(*tls.Config) {})
	f("a stranger's certificate", false, func(c *tls.Config) { c.Certificates = []tls.Certificate{theirs.issue(soon)} })
	f("no certificate", false, func(c *tls.Config) { c.Certificates = nil })
	f("an expired certificate", false, func(c *tls.Config) { c.Certificates = []tls.Certificate{ours.issue(past)} })
	f("TLS 1.2", false, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	f("an exporter that wants another CA", false, func(c *tls.Config) { c.RootCAs = theirs.pool() })

	c := r.dial()
	write(t, c, message(16, 1)) // plain IPFIX
	refused++
	r.eventually("plain TCP", func() bool { return r.Stats().Refused[RefusedHandshake] == refused })
}

// Without a client CA, exporters need no certificate.
func TestServerOnlyTLS(t *testing.T) {
	ours := newAuthority(t, "ours")
	cfg := testConfig()
	cfg.TLS = files(t, t.TempDir(), ours.issue(time.Now().Add(time.Hour)), nil)
	r := start(t, cfg, nil)
	if _, err := r.exporter(&tls.Config{RootCAs: ours.pool()}); err != nil {
		t.Error(err)
	}
	r.eventually("a message", func() bool { return r.Stats().Messages == 1 })
}

// A peer that connects and says nothing holds its place for a bounded time.
func TestHandshakeTime(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for HandshakeTime")
	}
	ours := newAuthority(t, "ours")
	cfg := testConfig()
	cfg.TLS = files(t, t.TempDir(), ours.issue(time.Now().Add(time.Hour)), nil)
	r := start(t, cfg, nil)
	begin := time.Now()
	_ = r.dial()
	time.Sleep(HandshakeTime - 100*time.Millisecond)
	r.eventually("the end", func() bool { return r.Stats().Refused[RefusedHandshake] == 1 })
	if took := time.Since(begin); took > HandshakeTime+2*time.Second {
		t.Errorf("held for %v", took)
	}
}

// Reload changes certificate and client CA for the connections that follow;
// files that cannot be used change nothing.
func TestReload(t *testing.T) {
	ours, next := newAuthority(t, "ours"), newAuthority(t, "next")
	soon := time.Now().Add(time.Hour)
	dir := t.TempDir()
	cfg := testConfig()
	cfg.TLS = files(t, dir, ours.issue(soon), ours)
	r := start(t, cfg, nil)
	of := func(a *authority) *tls.Config {
		return &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{a.issue(soon)}}
	}
	long, err := tls.Dial("tcp", r.Addresses()[0].String(), of(ours))
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	write(t, long, message(16, 1))
	r.eventually("a message", func() bool { return r.Stats().Messages == 1 })

	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(cfg.TLS); err == nil {
		t.Error("took a file without a certificate")
	}
	if err := r.Reload(TLS{}); err == nil {
		t.Error("switched TLS off")
	}
	if _, err := r.exporter(of(ours)); err != nil {
		t.Errorf("after a failed reload: %v", err)
	}
	if err := r.Reload(files(t, dir, next.issue(soon), next)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.exporter(of(ours)); err == nil {
		t.Error("the old CA still serves")
	}
	if _, err := r.exporter(of(next)); err != nil {
		t.Error(err)
	}
	write(t, long, message(16, 1))
	r.eventually("the session from before goes on", func() bool { return r.Stats().Messages == 4 })
}
