package session

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS names the PEM files of a server that speaks TLS 1.3. The zero value
// means plain TCP.
type TLS struct {
	Certificate string // with the chain that clients need, leaf first
	Key         string
	ClientCA    string // whom exporters' certificates must be from; empty asks for none
}

func (t TLS) enabled() bool { return t != TLS{} }

// Validate returns an error if a file is missing that the others need.
func (t TLS) Validate() error {
	if t.enabled() && (t.Certificate == "" || t.Key == "") {
		return errors.New("certificate and key: want both, or none and no client_ca")
	}
	return nil
}

// load reads the files.
func (t TLS) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", t.Certificate, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS13,
		// A resumed session would not show its certificate again: a
		// changed client CA must hold from the next connection on.
		SessionTicketsDisabled: true,
	}
	if t.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client CA %s: no certificate in it", t.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}
