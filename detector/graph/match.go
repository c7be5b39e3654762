package graph

import "math"

// None is not a vertex of any view.
const None Vertex = math.MaxUint32

// Match returns for each vertex of old the vertex of v that is the same host,
// or None. The vertices found ascend. Of two views made from links, a vertex's
// host is its number.
func (v *View) Match(old *View) []Vertex {
	match := make([]Vertex, old.Len())
	if old.keys == nil || v.keys == nil {
		for x := range match {
			if match[x] = None; old.keys == nil && v.keys == nil && x < v.Len() {
				match[x] = Vertex(x)
			}
		}
		return match
	}
	inParallel(len(v.bounds)-1, func(s int) {
		y, end := v.bounds[s], v.bounds[s+1]
		for x := old.bounds[s]; x < old.bounds[s+1]; x++ {
			match[x] = None
			if y < end && v.keys[y] == old.keys[x] {
				match[x] = y
				y++
				continue
			}
			key := newSortKey(&old.keys[x], 0)
			for y < end && newSortKey(&v.keys[y], 0).before(key) {
				y++
			}
			if y < end && v.keys[y] == old.keys[x] {
				match[x] = y
				y++
			}
		}
	})
	return match
}
