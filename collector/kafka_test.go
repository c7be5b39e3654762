package collector

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
)

// goflow2 decodes IPFIX messages and returns what its Kafka driver would send
// for them: its producer's messages in its binary format.
func goflow2(t *testing.T, messages [][]byte, sampler netip.Addr) (values [][]byte) {
	t.Helper()
	cfg, err := (*protoproducer.ProducerConfig)(nil).Compile()
	if err != nil {
		t.Fatal(err)
	}
	p, err := protoproducer.CreateProtoProducer(cfg, protoproducer.CreateSamplingSystem)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	templates := netflow.CreateTemplateSystem()
	for _, m := range messages {
		var packet netflow.IPFIXPacket
		if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), templates, &netflow.NFv9Packet{}, &packet); err != nil {
			t.Fatal(err)
		}
		out, err := p.Produce(&packet, &producer.ProduceArgs{SamplerAddress: sampler, TimeReceived: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			b, err := o.(*protoproducer.ProtoProducerMessage).MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, b)
		}
		p.Commit(out)
	}
	return values
}

// fakeKafka starts franz-go's broker in process and fills its topic.
func fakeKafka(t *testing.T, values [][]byte) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "flow-messages"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	produce(t, cluster, values)
	return cluster
}

func produce(t *testing.T, cluster *kfake.Cluster, values [][]byte) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("flow-messages"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Value: v})
	}
	if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func fromKafka(cluster *kfake.Cluster, more func(*Config)) func(*Config) {
	return func(c *Config) {
		c.Kafka.Brokers, c.Kafka.Beginning = cluster.ListenAddrs(), true
		c.Contacts = 1 << 16 // one flush: the same contacts whatever came when
		if more != nil {
			more(c)
		}
	}
}

// An IPFIX stream that goflow2 decoded and wrote into Kafka gives the contacts
// that it gives when it comes here itself.
func TestKafkaGivesTheContactsOfUDP(t *testing.T) {
	const n = 5000
	sampler := netip.MustParseAddr("192.0.2.1")
	keys := filepath.Join(t.TempDir(), "keys")
	messages := ipfix(t, n, time.Now().UnixMilli(), 0)
	exporters := func(c *Config) {
		// goflow2 takes a sampling interval without its space (RFC 5477
		// §8.2.3) and tells 1:1 for 1:10; force is what the operator has
		// against that.
		c.Exporters = []Exporter{{Name: "edge", From: []Prefix{{netip.PrefixFrom(sampler, 32)}}, Sampling: Sampling{Default: 10, Force: true}}}
	}
	finish := func(r *rig) map[flow.Contact]int {
		t.Helper()
		r.eventually("all records", func() bool { return r.metric("records_total") == n })
		list := r.Exporters()
		if len(list) != 1 || list[0].Name != "edge" || list[0].Records != n || list[0].Sampling != 10 || list[0].Versions[0] != 10 {
			t.Errorf("exporters: %+v", list)
		}
		r.stop()
		r.conserved()
		return multiset(paired(t, r.log.read(t).contacts))
	}
	r := startRig(t, setup{keys: keys, config: func(c *Config) { exporters(c); c.Contacts = 1 << 16 }})
	for _, m := range messages {
		r.sources[0].feed(listen.Packet{From: netip.AddrPortFrom(sampler, 9999), Data: m})
	}
	want := finish(r)
	cluster := fakeKafka(t, goflow2(t, messages, sampler))
	got := finish(startRig(t, setup{keys: keys, config: fromKafka(cluster, exporters)}))
	if len(want) < 1000 || !maps.Equal(got, want) {
		t.Errorf("Kafka gave %d contacts, UDP %d, or others", len(got), len(want))
	}
}

// The offset moves only behind what the log has: after a kill -9 everything
// that was not committed comes again, and nothing is missing.
func TestKafkaCountsAtLeastOnce(t *testing.T) {
	const n = 2000
	values := goflow2(t, ipfix(t, n, time.Now().UnixMilli(), 0), netip.MustParseAddr("192.0.2.1"))
	cluster := fakeKafka(t, values)
	keys, log := filepath.Join(t.TempDir(), "keys"), newMemLog()
	open := func() *rig {
		return startRig(t, setup{keys: keys, log: log, config: fromKafka(cluster, nil)})
	}
	r := open()
	r.eventually("all records", func() bool { return r.metric("records_total") == n })
	r.kill() // before the first flush
	log.crash(rand.New(rand.NewPCG(1, 2)))

	r = open()
	r.eventually("all records again", func() bool { return r.metric("records_total") == n })
	r.stop()
	if got := flows(paired(t, log.read(t).contacts)); got != n {
		t.Errorf("%d flows in the log, want %d: the first start had told none", got, n)
	}

	r = open()
	produce(t, cluster, values[:1])
	r.eventually("the new record", func() bool { return r.metric("records_total") >= 1 })
	time.Sleep(200 * time.Millisecond)
	if got := r.metric("records_total"); got != 1 {
		t.Errorf("%v records after everything was committed, want the new one", got)
	}
	r.stop()
	r.conserved()
}

// A flush that is dropped takes Kafka's records with it: they are read again,
// until the log has every one.
func TestKafkaReadsDroppedFlushesAgain(t *testing.T) {
	const n = 3000
	sampler := netip.MustParseAddr("192.0.2.1")
	keys := filepath.Join(t.TempDir(), "keys")
	messages := ipfix(t, n, time.Now().UnixMilli(), 0)
	hosts := func(r *rig) map[[2]flow.Host]bool {
		m := make(map[[2]flow.Host]bool)
		for _, c := range r.log.read(t).contacts {
			m[[2]flow.Host{c.Local, c.Remote}] = true
		}
		return m
	}
	r := startRig(t, setup{keys: keys})
	for _, m := range messages {
		r.sources[0].feed(listen.Packet{From: netip.AddrPortFrom(sampler, 9999), Data: m})
	}
	r.stop()
	want := hosts(r)

	values := goflow2(t, messages, sampler)
	cluster := fakeKafka(t, nil)
	r = newRig(t, setup{keys: keys, config: fromKafka(cluster, func(c *Config) { c.Flush, c.Queue = 100*time.Millisecond, 1000 })})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.log.setFault(func(int, string) fault { return refuses })
	produce(t, cluster, values[:100])
	r.eventually("a flush in the publisher's hands", func() bool {
		return r.metric("records_total") == 100 && r.metric("table_records") == 0 && r.metric("queue_flushes") == 0
	})
	produce(t, cluster, values[100:])
	r.eventually("a queue", func() bool { return r.metric("queue_contacts") > 500 })
	for i := range byte(20) { // UDP does not wait, and pushes Kafka's flushes out
		for j := range byte(100) {
			r.sources[0].feed(r.v5("192.0.2.200", record{src: flowAddr(10, 77, i, j), dst: "10.8.8.8"}))
		}
		time.Sleep(110 * time.Millisecond)
	}
	if r.metric("dropped_records_total") < 2000 {
		t.Fatal("no flush of Kafka's was dropped")
	}
	r.log.setFault(nil)
	// A small queue may drop what is read again once more, and once more after
	// that: what counts is that the log gets every contact in the end.
	r.eventually("every contact in the log", func() bool {
		got := hosts(r)
		for pair := range want {
			if !got[pair] {
				return false
			}
		}
		return r.metric("kafka_messages_total") >= 2*n && r.metric("kafka_rewinds_total") > 0
	})
	r.stop()
	r.conserved()
}
