package graph

import "github.com/flowhound/flowhound/internal/flow"

// Config says which part of the host graph a node holds and how much of it.
type Config struct {
	// Owned lists the shards of this node; nil means all of them.
	Owned []flow.Shard
	// MaxOutDegree bounds the links that one source may have.
	MaxOutDegree uint32
	// MaxLinks bounds the directed links of the whole graph; 0 is no bound.
	// Above it Expire forgets the oldest slices first, and counts them.
	MaxLinks uint64
	// Seed keys the hash of pseudonyms, so that nobody can choose colliding
	// ones. It changes no result.
	Seed uint64
}

// DefaultConfig returns the configuration of a node that owns all shards.
func DefaultConfig() Config { return Config{MaxOutDegree: 1 << 20} }

// Validate reports a configuration that no graph can have.
func (c Config) Validate() error { return nil }
