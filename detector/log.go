package detector

import (
	"context"
	"errors"

	"github.com/flowhound/flowhound/internal/flow"
)

// Streams is the number of streams that carry batches: the batches of shard s
// are in stream s mod Streams.
const Streams = 8

// ErrConflict is what [Log.AppendControl] returns, wrapped or not, when the
// last sequence number of the key is not the one that the caller gave.
var ErrConflict = errors.New("another writer was first")

// Log is the ordered log that the detector follows: one control stream, whose
// order decides, and [Streams] streams of batches. Sequence numbers start at 1
// and rise within a stream, with holes where the log dropped what was old.
// Its methods are safe for concurrent use.
type Log interface {
	// AppendControl appends a control message under key if the last message
	// of that key has sequence number last (0 for none), and returns the new
	// message's; otherwise the error is ErrConflict.
	AppendControl(ctx context.Context, key string, last uint64, payload []byte) (uint64, error)
	// LastControl returns the newest message of key; its sequence number is
	// 0 when there is none.
	LastControl(ctx context.Context, key string) (uint64, []byte, error)
	// Control reads the control stream from sequence number from (≥ 1) on.
	Control(ctx context.Context, from uint64) (ControlReader, error)
	// ControlBounds returns the sequence numbers of the oldest and of the
	// newest control message; an empty stream has first = last+1.
	ControlBounds(ctx context.Context) (first, last uint64, err error)
	// Batches reads the batches of the given shards, all of which are in the
	// given stream, from sequence number from (≥ 1) on.
	Batches(ctx context.Context, stream int, shards []flow.Shard, from uint64) (BatchReader, error)
	// BatchBounds is ControlBounds for a stream of batches.
	BatchBounds(ctx context.Context, stream int) (first, last uint64, err error)
}

// ControlReader reads the control stream in order.
type ControlReader interface {
	// Next waits for the next message. The payload belongs to the caller. A
	// sequence number that was read is not read again. When messages are
	// missing it may say so once in an error; then it goes on behind them.
	Next(ctx context.Context) (seq uint64, key string, payload []byte, err error)
	// Close ends the reading; a Next under way returns an error.
	Close()
}

// BatchReader reads a stream of batches in order.
type BatchReader interface {
	// Next waits for the next batch, as [ControlReader] does.
	Next(ctx context.Context) (seq uint64, shard flow.Shard, payload []byte, err error)
	// Close ends the reading; a Next under way returns an error.
	Close()
}
