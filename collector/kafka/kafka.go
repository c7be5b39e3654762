// Package kafka receives flow messages that goflow2 wrote into Kafka, as
// protobuf (goflow2's pb/flow.proto), and reads them into flow records.
//
// Each message counts at least once: the reader tells with Commit what is
// safe in its own log, and only then the group's offset moves. After a crash,
// a rebalance or a Rewind the messages in between come again. The host graph
// does not mind: a contact that is told twice is the same contact, with higher
// counters.
package kafka

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// commitEvery is how often offsets are written to the broker.
	commitEvery = 5 * time.Second
	// pollTime bounds the wait for messages, so that a Rewind is noticed.
	pollTime = time.Second
	// pollMessages is the most messages of one batch.
	pollMessages = 4096
	// fetchBytes bounds what one answer of a broker holds.
	fetchBytes = 8 << 20
	// closeTime bounds the last commit and the farewell to the group.
	closeTime = 5 * time.Second
	logEvery  = time.Minute
)

// Batch is what one poll brought. Its parts belong to the reader during its
// call only.
type Batch struct {
	Messages []Message
	Position *Position // behind all messages until now, Messages included
}

// Position is a place in the partitions of a topic. It does not change.
type Position struct {
	round   uint64                    // of rewinds before it
	offsets map[int32]kgo.EpochOffset // the next to read, by partition
}

// Stats are counts of a consumer, cumulative but for Lag.
type Stats struct {
	Messages     uint64 // read, bad ones included
	Bad          [Faults]uint64
	FetchErrors  uint64
	CommitErrors uint64
	Rewinds      uint64
	Lag          int64 // messages behind the ends of the partitions, at the last poll of each
}

// Consumer reads one topic as a member of a group. Its methods may be called
// from any goroutine.
type Consumer struct {
	cfg  Config
	opts []kgo.Opt

	receiving sync.Mutex                // held by Receive
	offsets   map[int32]kgo.EpochOffset // Receive's
	messages  []Message                 // Receive's

	mu       sync.Mutex // guards all below
	client   *kgo.Client
	assigned map[int32]bool
	lag      map[int32]int64
	round    uint64 // of rewinds
	stats    Stats

	logging sync.Mutex // guards logged; the client logs with locks of its own held
	logged  time.Time
}

// Open checks the settings and files of a consumer; brokers are looked for
// from then on.
func Open(cfg Config) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	c.opts = append(opts, kgo.WithLogger(logger{c}),
		kgo.OnPartitionsAssigned(c.assign), kgo.OnPartitionsRevoked(c.revoke), kgo.OnPartitionsLost(c.lose),
		kgo.AutoCommitCallback(c.autoCommitted))
	if err := c.join(); err != nil {
		return nil, err
	}
	return c, nil
}

// join makes a client, which joins the group.
func (c *Consumer) join() error {
	c.mu.Lock()
	c.assigned, c.lag = make(map[int32]bool), make(map[int32]int64)
	c.mu.Unlock()
	client, err := kgo.NewClient(c.opts...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = client
	return nil
}

// Receive calls handle for each batch until ctx ends, and returns nil then.
// Brokers that do not answer are waited for. It does not end the membership
// of the group: Commit works until Close.
func (c *Consumer) Receive(ctx context.Context, handle func(Batch)) error {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	c.offsets = make(map[int32]kgo.EpochOffset)
	round := c.current()
	for ctx.Err() == nil {
		if now := c.current(); now != round {
			round = now
			if err := c.again(); err != nil {
				return err
			}
		}
		c.poll(ctx, round, handle)
	}
	return nil
}

func (c *Consumer) current() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.round
}

// again joins the group anew, which begins at the committed offsets.
func (c *Consumer) again() error {
	c.leave()
	clear(c.offsets)
	return c.join()
}

// poll reads one batch.
func (c *Consumer) poll(ctx context.Context, round uint64, handle func(Batch)) {
	wait, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	fetches := c.client.PollRecords(wait, pollMessages)
	var failed uint64
	fetches.EachError(func(_ string, _ int32, err error) {
		if wait.Err() == nil || !errors.Is(err, wait.Err()) {
			failed++
			c.log("kafka does not answer, trying again", err)
		}
	})
	if failed > 0 {
		c.count(func(s *Stats) { s.FetchErrors += failed })
	}
	if failed > 0 && fetches.NumRecords() == 0 {
		<-wait.Done() // an error that lasts must not spin
		return
	}
	if fetches.NumRecords() == 0 {
		return
	}
	c.messages = c.messages[:0]
	var bad [Faults]uint64
	fetches.EachRecord(func(r *kgo.Record) {
		m, fault := Read(r.Value)
		if bad[fault]++; fault == Fine {
			c.messages = append(c.messages, m)
		}
		c.offsets[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	})
	c.behind(fetches)
	c.count(func(s *Stats) {
		for f, n := range bad {
			s.Messages += n
			if Fault(f) != Fine {
				s.Bad[f] += n
			}
		}
	})
	handle(Batch{Messages: c.messages, Position: &Position{round: round, offsets: maps.Clone(c.offsets)}})
}

// behind notes how far the partitions go on behind what was read.
func (c *Consumer) behind(fetches kgo.Fetches) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			c.lag[p.Partition] = max(0, p.HighWatermark-p.Records[n-1].Offset-1)
		}
	})
}

// Commit says that all messages before p are safe. The group's offsets follow
// within seconds, at Close at once. Positions from before a Rewind are
// ignored, and so are partitions that another member has now.
func (c *Consumer) Commit(p *Position) {
	ours := maps.Clone(p.offsets)
	c.mu.Lock()
	client := c.client
	if p.round != c.round {
		client = nil
	}
	maps.DeleteFunc(ours, func(partition int32, _ kgo.EpochOffset) bool { return !c.assigned[partition] })
	c.mu.Unlock()
	if client != nil {
		client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{c.cfg.Topic: ours})
	}
}

// Rewind says that messages before some position were lost: everything behind
// the last Commit is read again.
func (c *Consumer) Rewind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round++
	c.stats.Rewinds++
}

// Close commits what is safe and leaves the group. It is called after Receive
// has returned, and may be called twice.
func (c *Consumer) Close() {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	c.leave()
}

func (c *Consumer) leave() {
	c.mu.Lock()
	client := c.client
	c.client = nil
	c.mu.Unlock()
	if client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	c.committed(client.CommitMarkedOffsets(ctx))
	_ = client.LeaveGroupContext(ctx)
	client.Close()
}

// Stats returns the counts until now.
func (c *Consumer) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	for _, n := range c.lag {
		s.Lag += n
	}
	return s
}

func (c *Consumer) count(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}

// log writes a line, now and then.
func (c *Consumer) log(message string, err error) {
	c.logging.Lock()
	defer c.logging.Unlock()
	if time.Since(c.logged) >= logEvery {
		c.logged = time.Now()
		c.cfg.Logger.Warn(message, "topic", c.cfg.Topic, "group", c.cfg.Group, "err", err)
	}
}
