// Package lru is a bounded map that forgets the entry unused for longest, so
// that what strangers send can never grow memory.
package lru

import "iter"

// Map holds at most a fixed number of entries. It is not safe for concurrent
// use. Get and Put cost one map access and a few pointer stores.
type Map[K comparable, V any] struct {
	limit int
	nodes map[K]*node[K, V]
	// root closes the ring of nodes: root.next is the newest, root.prev the
	// oldest.
	root node[K, V]
}

type node[K comparable, V any] struct {
	prev, next *node[K, V]
	key        K
	value      V
}

// New returns an empty map for limit ≥ 1 entries.
func New[K comparable, V any](limit int) *Map[K, V] {
	if limit < 1 {
		panic("BUG: lru: limit below 1")
	}
	m := &Map[K, V]{limit: limit, nodes: make(map[K]*node[K, V])}
	m.root.prev, m.root.next = &m.root, &m.root
	return m
}

// Len returns the number of entries.
func (m *Map[K, V]) Len() int { return len(m.nodes) }

// Get returns the value of key and marks it as the newest.
func (m *Map[K, V]) Get(key K) (V, bool) {
	n, ok := m.nodes[key]
	if !ok {
		var zero V
		return zero, false
	}
	if m.root.next != n {
		n.unlink()
		m.pushFront(n)
	}
	return n.value, true
}

// Put sets the value of a key and marks it as the newest. Where that exceeds
// the limit, it forgets the oldest entry and returns it.
func (m *Map[K, V]) Put(key K, value V) (oldKey K, oldValue V, evicted bool) {
	if n, ok := m.nodes[key]; ok {
		n.value = value
		n.unlink()
		m.pushFront(n)
		return oldKey, oldValue, false
	}
	if len(m.nodes) >= m.limit {
		oldKey, oldValue, evicted = m.Evict()
	}
	n := &node[K, V]{key: key, value: value}
	m.nodes[key] = n
	m.pushFront(n)
	return oldKey, oldValue, evicted
}

// Evict forgets the oldest entry and returns it; ok is false in an empty map.
func (m *Map[K, V]) Evict() (key K, value V, ok bool) {
	n := m.root.prev
	if n == &m.root {
		return key, value, false
	}
	m.remove(n)
	return n.key, n.value, true
}

// Oldest returns the entry that the next eviction would forget.
func (m *Map[K, V]) Oldest() (key K, value V, ok bool) {
	n := m.root.prev
	return n.key, n.value, n != &m.root
}

// Delete forgets a key; unknown keys are no error.
func (m *Map[K, V]) Delete(key K) {
	if n, ok := m.nodes[key]; ok {
		m.remove(n)
	}
}

// All yields the entries from the newest to the oldest and marks none as
// used. The map must not change meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for n := m.root.next; n != &m.root; n = n.next {
			if !yield(n.key, n.value) {
				return
			}
		}
	}
}

func (m *Map[K, V]) remove(n *node[K, V]) {
	n.unlink()
	delete(m.nodes, n.key)
}

func (m *Map[K, V]) pushFront(n *node[K, V]) {
	n.prev, n.next = &m.root, m.root.next
	n.prev.next, n.next.prev = n, n
}

func (n *node[K, V]) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
}
