package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// ErrConflict occurs when the key's last message is not the one that the
// caller of AppendControl expected: another process writes under this key.
var ErrConflict = errors.New("another process wrote under this key")

// AppendControl appends payload under key if the sequence of the key's last
// message is last, 0 for none, and returns the new message's sequence in the
// control stream. Otherwise it fails with ErrConflict. It tries until ctx
// ends; after that failure the message may or may not be stored, and only
// LastControl can tell.
func (l *Log) AppendControl(ctx context.Context, key string, last uint64, payload []byte) (seq uint64, err error) {
	return l.appendControl(ctx, key, last, payload, nats.Header{})
}

// appendControl is AppendControl with headers, which it takes over.
func (l *Log) appendControl(ctx context.Context, key string, last uint64, payload []byte, header nats.Header) (seq uint64, err error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	msg := &nats.Msg{Subject: controlPrefix + key, Data: payload, Header: header}
	id := nuid.Next()
	doubt := false // an earlier try may have been stored
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ack, err := l.tryAppend(ctx, msg, id, last)
		switch {
		case err == nil:
			l.wrote(nil)
			return ack.Sequence, nil
		case isConflict(err) && doubt:
			return l.ownAppend(ctx, key, id)
		case isConflict(err):
			l.metrics.conflicts.Inc()
			return 0, fmt.Errorf("log key %s: %w", key, ErrConflict)
		}
		doubt = true
		l.wrote(err)
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("log key %s: append: %w: %w", key, err, ctx.Err())
		case <-l.done:
			return 0, ErrClosed
		case <-time.After(pause):
		}
	}
}

func (l *Log) tryAppend(ctx context.Context, msg *nats.Msg, id string, last uint64) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id),
		jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithRetryAttempts(0))
}

func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// ownAppend tells the caller's own message, stored by a try whose answer was
// lost, from another process's: by its id.
func (l *Log) ownAppend(ctx context.Context, key, id string) (uint64, error) {
	m, err := l.lastControl(ctx, key)
	if err != nil {
		return 0, err
	}
	if m != nil && m.Header.Get(jetstream.MsgIDHeader) == id {
		return m.Sequence, nil
	}
	l.metrics.conflicts.Inc()
	return 0, fmt.Errorf("log key %s: %w", key, ErrConflict)
}

// LastControl returns the last message under key and its sequence; 0 and nil
// if there is none. It fails when the log does not answer within seconds.
func (l *Log) LastControl(ctx context.Context, key string) (seq uint64, payload []byte, err error) {
	if err := checkKey(key); err != nil {
		return 0, nil, err
	}
	m, err := l.lastControl(ctx, key)
	if m == nil || err != nil {
		return 0, nil, err
	}
	return m.Sequence, m.Data, nil
}

func (l *Log) lastControl(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	s, err := l.stream(ctx, controlStream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := s.GetLastMsgForSubject(ctx, controlPrefix+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log key %s: last message: %w", key, err)
	}
	return m, nil
}

// checkKey accepts dot-separated words of a-z, 0-9 and "-".
func checkKey(key string) error {
	for _, word := range strings.Split(key, ".") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("log key %q: want words of a-z, 0-9 and \"-\", separated by dots", key)
		}
	}
	return nil
}
