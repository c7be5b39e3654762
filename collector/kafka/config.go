package kafka

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config are the settings of [Open].
type Config struct {
	Brokers []string // host:port
	Topic   string
	Group   string // consumer group; its members share the topic's partitions
	// Beginning makes a group without offsets begin at the topic's beginning,
	// not at its end.
	Beginning bool
	TLS       TLS
	SASL      SASL
	Logger    *slog.Logger
}

// TLS names PEM files. Any of them, or Enabled, means TLS.
type TLS struct {
	Enabled          bool
	CA               string // whom brokers' certificates must be from; empty: whom the system trusts
	Certificate, Key string // of this client; empty for none
}

// SASL is how the client proves who it is; no mechanism means not at all.
type SASL struct {
	Mechanism    string // plain, scram-sha-256 or scram-sha-512
	User         string
	PasswordFile string // holds the password; a newline at its end is cut
}

// Validate returns the first setting that cannot work, its key first.
func (c Config) Validate() error {
	switch {
	case c.Topic == "":
		return errors.New("topic: empty, want the topic that goflow2 writes to")
	case c.Group == "":
		return errors.New("group: empty, want a name")
	case (c.TLS.Certificate == "") != (c.TLS.Key == ""):
		return errors.New("tls: certificate and key: want both or none")
	}
	switch c.SASL.Mechanism {
	case "":
		return nil
	case "plain", "scram-sha-256", "scram-sha-512":
		if c.SASL.User == "" || c.SASL.PasswordFile == "" {
			return errors.New("sasl: user and password_file: want both")
		}
		return nil
	}
	return fmt.Errorf("sasl.mechanism: %q, want plain, scram-sha-256 or scram-sha-512", c.SASL.Mechanism)
}

// options returns the client's options, but for its callbacks.
func (c Config) options() ([]kgo.Opt, error) {
	start := kgo.NewOffset().AtEnd()
	if c.Beginning {
		start = kgo.NewOffset().AtStart()
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("flowhound"),
		kgo.ConsumeTopics(c.Topic), kgo.ConsumerGroup(c.Group),
		kgo.ConsumeStartOffset(start),
		// Messages that the broker has deleted are lost either way: go on
		// with the oldest that are there.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(commitEvery),
		kgo.FetchMaxBytes(fetchBytes),
	}
	tlsConfig, err := c.TLS.load()
	if err != nil {
		return nil, err
	}
	if tlsConfig != nil {
		opts = append(opts, kgo.DialTLSConfig(tlsConfig))
	}
	mechanism, err := c.SASL.load()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (t TLS) load() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("kafka: ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: ca %s: no certificate in it", t.CA)
		}
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("kafka: certificate %s: %w", t.Certificate, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s SASL) load() (sasl.Mechanism, error) {
	if s.Mechanism == "" {
		return nil, nil
	}
	password, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("kafka: password: %w", err)
	}
	secret := string(bytes.TrimRight(password, "\r\n"))
	switch s.Mechanism {
	case "plain":
		return plain.Auth{User: s.User, Pass: secret}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: s.User, Pass: secret}.AsSha256Mechanism(), nil
	default:
		return scram.Auth{User: s.User, Pass: secret}.AsSha512Mechanism(), nil
	}
}
