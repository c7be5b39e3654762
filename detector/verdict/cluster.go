package verdict

import (
	"cmp"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
)

// group finds the clusters among the suspects and returns the cluster number
// of each.
func (v *Verdict) group(in Input, suspects []graph.Vertex) map[graph.Vertex]int {
	root := make(map[graph.Vertex]graph.Vertex, len(suspects))
	for _, x := range suspects {
		root[x] = x
	}
	find := func(x graph.Vertex) graph.Vertex {
		for root[x] != x {
			root[x] = root[root[x]]
			x = root[x]
		}
		return x
	}
	for _, x := range suspects {
		for _, p := range in.View.Of(x) {
			y := p.Vertex()
			if _, ok := root[y]; ok {
				// The smaller vertex becomes the root, so that a root is its
				// component's first host.
				a, b := find(x), find(y)
				root[max(a, b)] = min(a, b)
			}
		}
	}
	clusters := make(map[graph.Vertex]*Cluster)
	var roots []graph.Vertex
	for _, x := range suspects {
		r := find(x)
		if clusters[r] == nil {
			clusters[r] = &Cluster{}
			roots = append(roots, r)
		}
		clusters[r].Hosts++
		if in.isSeed(x) {
			clusters[r].Seeds++
		}
	}
	slices.SortFunc(roots, func(a, b graph.Vertex) int {
		return cmp.Or(cmp.Compare(clusters[b].Hosts, clusters[a].Hosts), cmp.Compare(a, b))
	})
	for i, r := range roots {
		clusters[r].ID = i + 1
		v.Clusters = append(v.Clusters, *clusters[r])
	}
	number := make(map[graph.Vertex]int, len(suspects))
	for _, x := range suspects {
		number[x] = clusters[find(x)].ID
	}
	return number
}
