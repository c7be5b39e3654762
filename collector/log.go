package collector

import (
	"context"

	"github.com/flowhound/flowhound/internal/flow"
)

// Log is where contacts go: streams of batches, and a control stream. Its
// methods are safe for concurrent use.
type Log interface {
	// Publish hands a batch of a shard to the log, to be acknowledged later;
	// the log stores a message id once. It may wait for room, and may fail
	// when there is none before the next Sync; the batch is then not taken.
	// The payload must stay as it is until Sync has returned nil.
	Publish(shard flow.Shard, msgID string, payload []byte) error
	// Sync returns nil once every batch published so far is acknowledged. It
	// may be called again after an error.
	Sync(ctx context.Context) error
	// AppendControl appends a control message under key if the last message of
	// that key has sequence number last (0 for none), and returns the new
	// one's.
	AppendControl(ctx context.Context, key string, last uint64, payload []byte) (uint64, error)
	// LastControl returns the newest message of key; its sequence number is 0
	// when there is none.
	LastControl(ctx context.Context, key string) (uint64, []byte, error)
}
