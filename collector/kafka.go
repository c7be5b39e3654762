package collector

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/flowhound/flowhound/collector/kafka"
)

// Kafka are the settings of flow messages that goflow2 wrote into Kafka.
type Kafka struct {
	// Addresses of brokers to begin with, as host:port. Empty for none: nothing
	// is read. Default: empty.
	Brokers []string `yaml:"brokers"`
	// The topic that goflow2 writes to. Default: flow-messages.
	Topic string `yaml:"topic"`
	// Consumer group; collectors of one group share the topic's partitions.
	// Default: flowhound.
	Group string `yaml:"group"`
	// Let a group without offsets begin at the oldest message, not at what
	// comes from now on. Default: false.
	Beginning bool `yaml:"beginning"`
	// The way to the brokers: TLS.
	TLS KafkaTLS `yaml:"tls"`
	// How the collector proves to the brokers who it is.
	SASL KafkaSASL `yaml:"sasl"`
}

// KafkaTLS are the settings of TLS to the brokers; any of the files means TLS
// too.
type KafkaTLS struct {
	// Speak TLS. Default: false.
	Enabled bool `yaml:"enabled"`
	// PEM file of the authorities that the brokers' certificates must be from;
	// empty means those that the system trusts. Default: empty.
	CA string `yaml:"ca"`
	// PEM file of the collector's own certificate. Default: empty.
	Certificate string `yaml:"certificate"`
	// PEM file of its private key. Default: empty.
	Key string `yaml:"key"`
}

// KafkaSASL are the settings of SASL.
type KafkaSASL struct {
	// plain, scram-sha-256 or scram-sha-512; empty for none. Default: empty.
	Mechanism string `yaml:"mechanism"`
	// Name of the user. Default: empty.
	User string `yaml:"user"`
	// File that holds the password. Default: empty.
	PasswordFile string `yaml:"password_file"`
}

func (k Kafka) consumer() kafka.Config {
	return kafka.Config{Brokers: k.Brokers, Topic: k.Topic, Group: k.Group, Beginning: k.Beginning,
		TLS:  kafka.TLS{Enabled: k.TLS.Enabled, CA: k.TLS.CA, Certificate: k.TLS.Certificate, Key: k.TLS.Key},
		SASL: kafka.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.User, PasswordFile: k.SASL.PasswordFile}}
}

func (k Kafka) validate() error {
	if len(k.Brokers) == 0 {
		return nil
	}
	if err := k.consumer().Validate(); err != nil {
		return fmt.Errorf("kafka.%w", err)
	}
	return nil
}

// openKafka joins the consumer group, where one is configured, and makes the
// worker that takes what it reads. A message is one export packet that holds
// one record, as far as the accounts go.
func (c *Collector) openKafka(a *access) error {
	if len(c.cfg.Kafka.Brokers) == 0 {
		return nil
	}
	cfg := c.cfg.Kafka.consumer()
	cfg.Logger = c.deps.Logger
	consumer, err := kafka.Open(cfg)
	if err != nil {
		return err
	}
	c.kafka.Store(consumer)
	w := c.newWorker(c.decoding(a))
	w.consumer = consumer
	w.receive = func(ctx context.Context) error {
		return consumer.Receive(ctx, func(b kafka.Batch) {
			c.yield(ctx)
			w.adopt(b)
		})
	}
	c.workers = append(c.workers, w)
	return nil
}

// adopt takes a batch of messages. Only when all of their records are in the
// table does the position behind them hold for the next swap.
func (w *worker) adopt(b kafka.Batch) {
	nowMS := w.now().UnixMilli()
	refused := uint64(0)
	for i := range b.Messages {
		m := &b.Messages[i]
		from := m.Exporter
		if !from.IsValid() {
			from = netip.IPv4Unspecified() // goflow2 did not tell
		}
		if !w.admits(from) {
			refused++
			w.refused.add(from, nowMS)
			continue
		}
		n := len(w.records)
		w.records = w.decoder.Adopt(w.records, from, m.Record, nowMS)
		if w.firstCome != nil {
			w.firstCome.mark(w.records[n:], from, nowMS)
		}
		if len(w.records) >= takeEvery {
			w.take(nowMS)
		}
	}
	w.take(nowMS)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.received += uint64(len(b.Messages))
	w.counts.refused += refused
	w.position = b.Position
}

// committed hears that a window is in the log: what it holds of Kafka's need
// not be read again.
func (c *Collector) committed(w *window) {
	if consumer := c.kafka.Load(); consumer != nil && w.position != nil {
		consumer.Commit(w.position)
	}
}

func (c *Collector) closeKafka() {
	if consumer := c.kafka.Load(); consumer != nil {
		consumer.Close()
	}
}
