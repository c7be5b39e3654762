package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assign notes partitions that this member has from now on.
func (c *Consumer) assign(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range topics[c.cfg.Topic] {
		c.assigned[p] = true
	}
}

// revoke commits what is safe before another member has the partitions.
func (c *Consumer) revoke(ctx context.Context, client *kgo.Client, topics map[string][]int32) {
	c.committed(client.CommitMarkedOffsets(ctx))
	c.lose(ctx, client, topics)
}

// lose notes partitions that another member has from now on.
func (c *Consumer) lose(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range topics[c.cfg.Topic] {
		delete(c.assigned, p)
		delete(c.lag, p)
	}
}

// autoCommitted hears what came of a commit in the background.
func (c *Consumer) autoCommitted(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
	if err == nil && answer != nil {
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	}
	c.committed(err)
}

// committed counts a commit that failed; the next one covers it.
func (c *Consumer) committed(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	c.count(func(s *Stats) { s.CommitErrors++ })
	c.log("kafka did not take the offsets, trying again", err)
}

// logger passes on what the client has to say of errors, such as a broker that
// refuses us: a consumer of a group sees these nowhere else.
type logger struct{ c *Consumer }

func (l logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(_ kgo.LogLevel, message string, keyvals ...any) {
	for i := 0; i+1 < len(keyvals); i += 2 {
		if err, ok := keyvals[i+1].(error); ok && err != nil && !errors.Is(err, context.Canceled) {
			l.c.log("kafka: "+message, err)
			return
		}
	}
}
