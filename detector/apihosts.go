package detector

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
	"github.com/flowhound/flowhound/internal/flow"
)

// defaultPeers and maxPeers bound the peers that a host is explained with.
const (
	defaultPeers = 20
	maxPeers     = 10_000
)

// hostJSON is the answer of /api/v1/hosts/{pseudonym}.
type hostJSON struct {
	Pseudonym string     `json:"pseudonym"`
	Slice     flow.Slice `json:"slice"`
	Score     float64    `json:"score"`
	// Ranks are multiples of the average; a share is that of the hosts with a
	// rank at least as high.
	ClientRank  float64 `json:"client_rank"`
	ServerRank  float64 `json:"server_rank"`
	ClientShare float64 `json:"client_share"`
	ServerShare float64 `json:"server_share"`
	// Ranks from the seeds, null when there are none.
	SeededClientRank *float64  `json:"seeded_client_rank"`
	SeededServerRank *float64  `json:"seeded_server_rank"`
	Core             coreJSON  `json:"core"`
	Seed             bool      `json:"seed"`
	Out              uint32    `json:"out"` // links to others
	In               uint32    `json:"in"`
	Suspect          *suspects `json:"suspect"` // null if it is none
	PeersTotal       int       `json:"peers_total"`
	Peers            []peer    `json:"peers"`
}

// coreJSON is the core evidence: the host keeps Core peers within a group of
// hosts with at most Cap peers, where the null graph reaches Null.
type coreJSON struct {
	Core uint16 `json:"core"`
	Cap  uint16 `json:"cap"`
	Null uint16 `json:"null"`
}

// suspects is what only a suspect has.
type suspects struct {
	Place    int             `json:"place"` // from 1
	Since    time.Time       `json:"since"`
	Cluster  verdict.Cluster `json:"cluster"`
	Evidence []string        `json:"evidence"`
}

// peer is a host that the explained one has a link with.
type peer struct {
	Pseudonym string    `json:"pseudonym"`
	Score     float64   `json:"score"`
	Suspect   bool      `json:"suspect"`
	SameGroup bool      `json:"same_cluster"`
	Seed      bool      `json:"seed"`
	Out       bool      `json:"out"` // it was sent to
	In        bool      `json:"in"`  // it sent
	Answered  bool      `json:"answered"`
	LastSeen  time.Time `json:"last_seen"` // end of the slice
	Flows     uint32    `json:"flows"`
	Bytes     uint64    `json:"bytes"`
	Port      uint16    `json:"port"`
	Proto     uint8     `json:"proto"`

	vertex graph.Vertex
}

func (d *Detector) getHost(w http.ResponseWriter, r *http.Request) error {
	p, _, err := flow.ParsePseudonym(r.PathValue("pseudonym"))
	if err != nil {
		return &apiError{http.StatusBadRequest, err.Error()}
	}
	limit, err := intParam(r, "peers", defaultPeers, 0, maxPeers)
	if err != nil {
		return err
	}
	e := d.epoch.Load()
	if e == nil {
		return errNoEpoch
	}
	x, ok := e.view.FindPseudonym(p)
	if !ok {
		return &apiError{http.StatusNotFound, "host " + r.PathValue("pseudonym") + " is not in the window"}
	}
	return writeJSON(w, e.explain(x, limit, d.cfg))
}

// explain says everything that an epoch knows of a host, with its strongest
// peers: those of its cluster first, then by score.
func (e *epoch) explain(x graph.Vertex, limit int, cfg Config) hostJSON {
	n := float64(e.view.Len())
	one := []graph.Vertex{x}
	h := hostJSON{
		Pseudonym: e.pseudonym(x), Slice: e.slice, Score: e.verdict.Scores[x],
		ClientRank: n * e.ranks.Client[x], ServerRank: n * e.ranks.Server[x],
		ClientShare: verdict.Shares(e.ranks.Client, one)[0], ServerShare: verdict.Shares(e.ranks.Server, one)[0],
		Core: coreJSON{Core: e.contrast.Core[x], Cap: e.contrast.Cap[x]},
		Seed: e.isSeed(x),
	}
	h.Out, h.In = e.view.Degrees(x)
	h.Core.Null = e.contrast.NullAt(h.Core.Cap)
	if e.seeded.Client != nil {
		client, server := n*e.seeded.Client[x], n*e.seeded.Server[x]
		h.SeededClientRank, h.SeededServerRank = &client, &server
	}
	if i, ok := e.suspects[x]; ok {
		s := e.verdict.Suspects[i]
		h.Suspect = &suspects{Place: i + 1, Since: cfg.end(e.since[i]), Cluster: e.verdict.Clusters[s.Cluster-1], Evidence: s.Evidence}
	}
	all := e.peers(x)
	h.PeersTotal = len(all)
	h.Peers = all[:min(limit, len(all))]
	for i := range h.Peers {
		e.evidence(x, &h.Peers[i], cfg)
	}
	return h
}

func (e *epoch) isSeed(x graph.Vertex) bool {
	_, ok := slices.BinarySearch(e.seeds, x)
	return ok
}

// cluster returns the number of a suspect's cluster, 0 for other hosts.
func (e *epoch) cluster(x graph.Vertex) int {
	if i, ok := e.suspects[x]; ok {
		return e.verdict.Suspects[i].Cluster
	}
	return 0
}

// peers returns the peers of x, strongest first, without their links.
func (e *epoch) peers(x graph.Vertex) []peer {
	row, own := e.view.Of(x), e.cluster(x)
	peers := make([]peer, len(row))
	for i, p := range row {
		y := p.Vertex()
		c := e.cluster(y)
		peers[i] = peer{vertex: y, Score: e.verdict.Scores[y], Suspect: c > 0, SameGroup: c > 0 && c == own, Seed: e.isSeed(y)}
	}
	slices.SortStableFunc(peers, func(a, b peer) int {
		if a.SameGroup != b.SameGroup {
			return int(oneIf(b.SameGroup)) - int(oneIf(a.SameGroup))
		}
		return cmp.Compare(b.Score, a.Score)
	})
	return peers
}

// evidence fills in what the graph knows of the links with a peer.
func (e *epoch) evidence(x graph.Vertex, p *peer, cfg Config) {
	p.Pseudonym = e.pseudonym(p.vertex)
	out, isOut := e.view.Link(x, p.vertex)
	in, isIn := e.view.Link(p.vertex, x)
	p.Out, p.In = isOut, isIn
	p.Answered = out.Answered || in.Answered
	if newest := max(out.LastSeen, in.LastSeen); newest > 0 {
		p.LastSeen = cfg.end(newest)
	}
	// Both directions of a pair share these numbers.
	known := out
	if !isOut {
		known = in
	}
	p.Flows, p.Bytes, p.Port, p.Proto = known.Flows, known.Bytes, known.Port, known.Proto
}
