package graph

import (
	"fmt"

	"github.com/flowhound/flowhound/internal/flow"
)

// Config says which part of the host graph a node holds and how much of it.
type Config struct {
	// Owned lists the shards of this node; nil means all of them.
	Owned []flow.Shard
	// MaxOutDegree bounds the links that one source may have, at least 1 and
	// by default 2^20. Beyond it a fixed pseudo-random choice of the source's
	// links stays, the same in whatever order they arrive.
	MaxOutDegree uint32
	// MaxLinks bounds the directed links of the whole graph; 0, the default,
	// is no bound. Above it Expire forgets the oldest slices first.
	MaxLinks uint64
	// Seed keys the hash of pseudonyms, so that nobody can choose colliding
	// ones. It changes no result.
	Seed uint64
}

// DefaultConfig returns the configuration of a node that owns all shards.
func DefaultConfig() Config { return Config{MaxOutDegree: 1 << 20} }

// Validate reports a configuration that no graph can have.
func (c Config) Validate() error {
	if c.MaxOutDegree < 1 {
		return fmt.Errorf("graph: max out-degree %d: want at least 1", c.MaxOutDegree)
	}
	var seen [flow.Shards]bool
	for _, s := range c.Owned {
		if seen[s] {
			return fmt.Errorf("graph: owned shard %d: listed twice", s)
		}
		seen[s] = true
	}
	return nil
}

// owned returns the set of owned shards.
func (c Config) owned() (set [flow.Shards]bool) {
	for s := range set {
		set[s] = c.Owned == nil
	}
	for _, s := range c.Owned {
		set[s] = true
	}
	return set
}
