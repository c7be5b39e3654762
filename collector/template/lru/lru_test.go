package lru_test

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/collector/template/lru"
)

// TestAgainstList compares the map with the definition of LRU: a list ordered
// by last use.
func TestAgainstList(t *testing.T) {
	for seed := range int64(20) {
		r := rand.New(rand.NewSource(seed))
		limit := 1 + r.Intn(8)
		m := lru.New[int, int](limit)
		var keys []int // newest first
		values := map[int]int{}
		touch := func(k int) {
			keys = slices.DeleteFunc(keys, func(o int) bool { return o == k })
			keys = slices.Insert(keys, 0, k)
		}
		for step := range 2000 {
			k := r.Intn(12)
			switch r.Intn(4) {
			case 0, 1:
				v, ok := m.Get(k)
				want, wantOK := values[k]
				if v != want || ok != wantOK {
					t.Fatalf("seed %d step %d: Get(%d): got %d %v, want %d %v", seed, step, k, v, ok, want, wantOK)
				}
				if ok {
					touch(k)
				}
			case 2:
				old, _, evicted := m.Put(k, step)
				_, known := values[k]
				if wantEvicted := !known && len(keys) == limit; evicted != wantEvicted {
					t.Fatalf("seed %d step %d: Put(%d): evicted %v, want %v", seed, step, k, evicted, wantEvicted)
				}
				if evicted {
					last := keys[len(keys)-1]
					if old != last {
						t.Fatalf("seed %d step %d: evicted %d, want %d", seed, step, old, last)
					}
					keys = keys[:len(keys)-1]
					delete(values, last)
				}
				values[k] = step
				touch(k)
			case 3:
				m.Delete(k)
				delete(values, k)
				keys = slices.DeleteFunc(keys, func(o int) bool { return o == k })
			}
			var got []int
			for k := range m.All() {
				got = append(got, k)
			}
			if !slices.Equal(got, keys) || m.Len() != len(keys) {
				t.Fatalf("seed %d step %d: order %v, want %v", seed, step, got, keys)
			}
			if k, _, ok := m.Oldest(); ok != (len(keys) > 0) || ok && k != keys[len(keys)-1] {
				t.Fatalf("seed %d step %d: oldest %d %v, want the last of %v", seed, step, k, ok, keys)
			}
		}
	}
}
