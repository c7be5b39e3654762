package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowhound/flowhound/internal/flow"
)

// What may be published and not yet acknowledged.
const (
	maxFlying      = 1024
	maxFlyingBytes = 64 << 20
)

// ErrBacklog occurs when Publish finds the bound of unacknowledged messages
// reached by messages that failed: Sync must send them again first.
var ErrBacklog = errors.New("log: too many messages are not acknowledged")

// parcel is a message on its way. Its payload stays the publisher's until the
// message is acknowledged.
type parcel struct {
	msg    *nats.Msg
	id     string
	future jetstream.PubAckFuture
}

// publisher keeps the messages that were published but not acknowledged.
// flying wait for the server's answer, in the order of their sending; failed
// have a refusal or a timeout behind them. A message is in one of the two.
type publisher struct {
	log  *Log
	turn chan struct{} // holds one token; guards what follows

	flying, failed []parcel
	bytes          int   // payloads of both
	cause          error // of the newest failure
}

func newPublisher(l *Log) *publisher {
	p := &publisher{log: l, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// Publish sends a batch into its shard's stream without waiting for the
// acknowledgement; [Log.Sync] does that. The payload must not be changed
// before. The server stores one message per id within two minutes. When too
// much is on its way Publish waits for some of it. It fails with ErrBacklog or
// ErrClosed, or when the payload is larger than [Log.MaxPayload]; the message
// is then not taken.
//
// A message that had to be sent again may be stored behind later ones of its
// shard: within one Sync, readers must expect any order.
func (l *Log) Publish(shard flow.Shard, id string, payload []byte) error {
	if limit := l.MaxPayload(); len(payload) > limit {
		return fmt.Errorf("log: message %s: %d bytes, the log takes at most %d", id, len(payload), limit)
	}
	p := l.pub
	if err := p.take(context.Background()); err != nil {
		return err
	}
	defer p.release()
	for p.full(len(payload)) {
		if len(p.flying) == 0 {
			return fmt.Errorf("%w: %w", ErrBacklog, p.cause)
		}
		if err := p.await(context.Background()); err != nil {
			return err
		}
	}
	msg := &nats.Msg{Subject: contactSubject(shard), Data: payload, Header: nats.Header{}}
	msg.Header.Set(jetstream.MsgIDHeader, id)
	p.bytes += len(payload)
	p.send(parcel{msg: msg, id: id})
	l.metrics.published.Inc()
	l.metrics.publishedBytes.Add(float64(len(payload)))
	return nil
}

// Sync returns when every message published so far is acknowledged. It sends
// failed ones again, under the same ids, until ctx ends; then the error tells
// how many are left, which stay for the next Sync.
func (l *Log) Sync(ctx context.Context) error {
	p := l.pub
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.release()
	start := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		for len(p.flying) > 0 {
			if err := p.await(ctx); err != nil {
				return p.left(err)
			}
		}
		if len(p.failed) == 0 {
			l.metrics.syncSeconds.Observe(time.Since(start).Seconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return p.left(ctx.Err())
		case <-l.done:
			return p.left(ErrClosed)
		case <-time.After(pause):
		}
		p.resend()
	}
}

// take waits for the turn, which the caller must release.
func (p *publisher) take(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("log: wait for another flush: %w", ctx.Err())
	case <-p.log.done:
		return ErrClosed
	case <-p.turn:
	}
	if p.log.life.Err() != nil { // both were ready
		p.turn <- struct{}{}
		return ErrClosed
	}
	return nil
}

func (p *publisher) release() {
	p.log.metrics.pending.Set(float64(len(p.flying) + len(p.failed)))
	p.turn <- struct{}{}
}

// full reports whether a payload of n bytes must wait. An empty publisher
// takes any.
func (p *publisher) full(n int) bool {
	count := len(p.flying) + len(p.failed)
	return count > 0 && (count >= maxFlying || p.bytes+n > maxFlyingBytes)
}

// send hands a message to the connection. Where that fails at once, because
// the connection is down, the message waits for resend.
func (p *publisher) send(m parcel) {
	var err error
	// The server's "nobody listens" is a failure like others: no retries here.
	m.future, err = p.log.js.PublishMsgAsync(m.msg, jetstream.WithRetryAttempts(0))
	if err != nil {
		p.fail(m, err)
		return
	}
	p.flying = append(p.flying, m)
}

func (p *publisher) fail(m parcel, err error) {
	m.future = nil
	p.cause = err
	p.log.wrote(err)
	p.failed = append(p.failed, m)
	p.log.metrics.failures.Inc()
}

// resend sends the failed messages once more, as many as may fly.
func (p *publisher) resend() {
	again := p.failed
	p.failed = nil
	for _, m := range again {
		p.log.metrics.resent.Inc()
		p.send(m)
	}
}

// await waits until the oldest flying message is acknowledged or failed. It
// returns an error only if ctx or the log ends before.
func (p *publisher) await(ctx context.Context) error {
	m := p.flying[0]
	var failure error
	select {
	case <-m.future.Ok():
	case failure = <-m.future.Err():
	case <-ctx.Done():
		return ctx.Err()
	case <-p.log.done:
		return ErrClosed
	}
	p.flying[0] = parcel{}
	p.flying = p.flying[1:]
	if failure != nil {
		p.fail(m, failure)
		return nil
	}
	p.bytes -= len(m.msg.Data)
	p.log.wrote(nil)
	return nil
}

// left describes what Sync could not get acknowledged.
func (p *publisher) left(err error) error {
	n := len(p.flying) + len(p.failed)
	if p.cause != nil {
		return fmt.Errorf("log: %d messages are not acknowledged (%w): %w", n, p.cause, err)
	}
	return fmt.Errorf("log: %d messages are not acknowledged: %w", n, err)
}
