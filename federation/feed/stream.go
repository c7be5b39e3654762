package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowhound/flowhound/internal/flow"
)

// streamConfigs returns what the log's streams should be. CONTROL has a
// sixteenth of the room and no age limit: a collector that comes back after
// months must still find its last commit.
func (l *Log) streamConfigs() []jetstream.StreamConfig {
	base := jetstream.StreamConfig{
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardOld,
		Replicas:   l.cfg.Replicas,
		Duplicates: duplicates,
		DenyDelete: true,
		DenyPurge:  !l.cfg.Spool,
	}
	control := base
	control.Name, control.Subjects = controlStream, []string{controlPrefix + ">"}
	control.MaxBytes = l.cfg.MaxBytes / 16
	configs := []jetstream.StreamConfig{control}
	for i := range Streams {
		c := base
		c.Name = contactStream(i)
		for s := i; s < flow.Shards; s += Streams {
			c.Subjects = append(c.Subjects, contactSubject(flow.Shard(s)))
		}
		c.MaxBytes, c.MaxAge = l.cfg.MaxBytes/16*15/Streams, l.cfg.MaxAge
		configs = append(configs, c)
	}
	return configs
}

// ensureStreams creates the streams that are missing. The embedded server's
// follow the configuration; elsewhere they belong to whoever made them first.
func (l *Log) ensureStreams(ctx context.Context) error {
	for _, c := range l.streamConfigs() {
		var err error
		if l.server != nil {
			err = l.ensureLocal(ctx, c)
		} else {
			err = l.ensureRemote(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("log stream %s: %w", c.Name, err)
		}
	}
	return nil
}

func (l *Log) ensureLocal(ctx context.Context, c jetstream.StreamConfig) error {
	if !c.DenyPurge { // the server never takes that promise back
		s, err := l.js.Stream(ctx, c.Name)
		if err == nil {
			c.DenyPurge = s.CachedInfo().Config.DenyPurge
		} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	}
	_, err := l.js.CreateOrUpdateStream(ctx, c)
	return err
}

func (l *Log) ensureRemote(ctx context.Context, c jetstream.StreamConfig) error {
	s, err := l.js.Stream(ctx, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = l.js.CreateStream(ctx, c)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another was faster
			s, err = l.js.Stream(ctx, c.Name)
		}
	}
	if err != nil {
		return err
	}
	got := s.CachedInfo().Config
	if got.Retention != jetstream.LimitsPolicy || got.Storage != jetstream.FileStorage || len(got.Subjects) != len(c.Subjects) {
		return errors.New("the server's stream of this name is not flowhound's")
	}
	return nil
}

// stream looks a stream up. A request whose answer was lost with the
// connection would wait for ctx's end, so it has a limit of its own.
func (l *Log) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := l.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("log stream %s: %w", name, err)
	}
	return s, nil
}

// StreamState is what a stream holds: messages First to Last, without holes.
// An empty stream has First = Last + 1, or both 0 when it never had one.
type StreamState struct {
	Name            string
	Messages, Bytes uint64
	First, Last     uint64
}

// State returns the state of all streams, CONTROL first. It fails when the log
// does not answer within seconds.
func (l *Log) State(ctx context.Context) ([]StreamState, error) {
	var states []StreamState
	for _, name := range streamNames() {
		s, err := l.stream(ctx, name)
		if err != nil {
			return nil, err
		}
		st := s.CachedInfo().State
		states = append(states, StreamState{name, st.Msgs, st.Bytes, st.FirstSeq, st.LastSeq})
	}
	return states, nil
}

// A GapError occurs when a reader needs messages that the stream does not
// hold: they were dropped by age or size before they were read, or lost to
// damage; or the log is not the one that the reader's position comes from.
type GapError struct {
	Stream string
	Want   uint64 // the first message that is missing
	Next   uint64 // the first one behind the gap; 0 if the stream ends before
	Last   uint64 // the newest message that was seen of the stream
}

// Error tells what is missing.
func (e *GapError) Error() string {
	if e.Next == 0 {
		return fmt.Sprintf("log stream %s ends at message %d, want %d: it is not the log of this position", e.Stream, e.Last, e.Want)
	}
	return fmt.Sprintf("log stream %s: messages %d to %d are gone", e.Stream, e.Want, e.Next-1)
}
