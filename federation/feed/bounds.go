package feed

import (
	"context"
	"fmt"
)

// ControlBounds returns the sequence numbers of the oldest and of the newest
// control message; an empty stream has first = last + 1.
func (l *Log) ControlBounds(ctx context.Context) (first, last uint64, err error) {
	return l.bounds(ctx, controlStream)
}

// BatchBounds is [Log.ControlBounds] for a contact stream, 0 to Streams − 1.
func (l *Log) BatchBounds(ctx context.Context, stream int) (first, last uint64, err error) {
	if stream < 0 || stream >= Streams {
		return 0, 0, fmt.Errorf("log: contact stream %d: want 0 to %d", stream, Streams-1)
	}
	return l.bounds(ctx, contactStream(stream))
}

func (l *Log) bounds(ctx context.Context, name string) (first, last uint64, err error) {
	s, err := l.stream(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	st := s.CachedInfo().State
	return max(st.FirstSeq, 1), st.LastSeq, nil // a new stream says 0 and 0
}
