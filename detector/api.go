package detector

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
	"github.com/flowhound/flowhound/internal/flow"
)

// maxBody bounds the body of a request: the most seeds that one message can
// hold, as JSON.
const maxBody = 4 << 20

// defaultTop and maxTop bound how many suspects are listed.
const (
	defaultTop = 100
	maxTop     = 1_000_000
)

// errNoEpoch is the answer before the first epoch.
var errNoEpoch = &apiError{http.StatusServiceUnavailable, "no slice has been ranked yet"}

// apiError is an error with its HTTP status code.
type apiError struct {
	code int
	text string
}

func (e *apiError) Error() string { return e.text }

// Handler returns the API under /api/v1/. Answers and errors are JSON; an
// error is {"error": "…"}.
func (d *Detector) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if err := f(w, r); err != nil {
				writeError(w, err)
			}
		})
	}
	handle("GET /api/v1/status", d.getStatus)
	handle("GET /api/v1/epochs", d.getEpochs)
	handle("GET /api/v1/suspects", d.getSuspects)
	handle("GET /api/v1/hosts/{pseudonym}", d.getHost)
	handle("GET /api/v1/scores", d.getScores)
	handle("GET /api/v1/seeds", d.getSeeds)
	handle("POST /api/v1/seeds", d.postSeeds)
	handle("DELETE /api/v1/seeds", d.deleteSeeds)
	for _, path := range []string{"status", "epochs", "suspects", "hosts/{pseudonym}", "scores", "seeds"} {
		handle("/api/v1/"+path, func(http.ResponseWriter, *http.Request) error {
			return &apiError{http.StatusMethodNotAllowed, "method not allowed"}
		})
	}
	handle("/api/v1/", func(http.ResponseWriter, *http.Request) error {
		return &apiError{http.StatusNotFound, "no such resource"}
	})
	return mux
}

func writeError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var withCode *apiError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &withCode):
		code = withCode.code
	case errors.As(err, &tooLarge):
		code = http.StatusRequestEntityTooLarge
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// writeJSON answers with v. A reader that went away is no error of ours.
func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
	return nil
}

// intParam reads a number from the query.
func intParam(r *http.Request, name string, otherwise, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &apiError{http.StatusBadRequest, name + " " + strconv.Quote(text) + ": want " + strconv.Itoa(least) + " to " + strconv.Itoa(most)}
	}
	return n, nil
}

// Status is the state of a detector, as /api/v1/status tells it.
type Status struct {
	Ready            bool              `json:"ready"`
	Reason           string            `json:"reason,omitempty"` // why it is not ready
	SliceSeconds     float64           `json:"slice_seconds"`
	WindowSeconds    float64           `json:"window_seconds"`
	Damping          float64           `json:"damping"`
	Threshold        float64           `json:"threshold"`
	Closed           flow.Slice        `json:"closed"`
	Hosts            uint64            `json:"hosts"`
	Links            uint64            `json:"links"`
	Contacts         uint64            `json:"contacts"`
	Late             uint64            `json:"late_contacts"`
	Gaps             uint64            `json:"gap_batches"`
	WindowIncomplete bool              `json:"window_incomplete"`
	Positions        map[string]uint64 `json:"positions"`
	Lag              map[string]uint64 `json:"lag"`
	Collectors       []collectorJSON   `json:"collectors"`
	Seeds            int               `json:"seeds"`
	Epoch            *epochSummary     `json:"epoch"` // the last, null before the first
}

func (d *Detector) getStatus(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, d.Status())
}

// Status returns the state of the detector, as fresh as its last housekeeping.
func (d *Detector) Status() Status {
	s, e, err := d.status.Load(), d.epoch.Load(), d.Ready()
	out := Status{
		Ready: err == nil, SliceSeconds: d.cfg.Slice.Seconds(), WindowSeconds: d.cfg.Window.Seconds(),
		Damping: d.cfg.Damping, Threshold: d.cfg.Verdict.Threshold, Closed: s.Closed,
		Hosts: s.Graph.Hosts, Links: s.Graph.Links, Contacts: s.Ingest.Contacts, Late: s.Ingest.Late,
		Gaps: s.Ingest.Gaps, WindowIncomplete: s.WindowIncomplete,
		Positions:  map[string]uint64{streamName(fromControl): s.Control},
		Lag:        map[string]uint64{streamName(fromControl): s.ControlLag},
		Collectors: s.Collectors, Seeds: len(s.Seeds),
	}
	if err != nil {
		out.Reason = err.Error()
	}
	for i := range s.Streams {
		out.Positions[streamName(i)], out.Lag[streamName(i)] = s.Streams[i], s.Lag[i]
	}
	if e != nil {
		out.Epoch = &e.recent[0]
	}
	return out
}

func (d *Detector) getEpochs(w http.ResponseWriter, _ *http.Request) error {
	recent := []epochSummary{}
	if e := d.epoch.Load(); e != nil {
		recent = e.recent
	}
	return writeJSON(w, map[string]any{"epochs": recent})
}

// suspectJSON is a suspect in the API and in events.
type suspectJSON struct {
	Pseudonym  string    `json:"pseudonym"`
	Score      float64   `json:"score"`
	ClientRank float64   `json:"client_rank"` // multiples of the average
	ServerRank float64   `json:"server_rank"`
	Core       uint16    `json:"core"`
	Cluster    int       `json:"cluster"`
	Seed       bool      `json:"seed"`
	Since      time.Time `json:"since"` // end of the first slice that named it
	Evidence   []string  `json:"evidence"`
}

// suspect returns the suspect in place i of an epoch.
func (e *epoch) suspect(i int, cfg Config) suspectJSON {
	s := e.verdict.Suspects[i]
	return suspectJSON{
		Pseudonym: e.pseudonym(s.Vertex), Score: s.Score, ClientRank: s.ClientRank, ServerRank: s.ServerRank,
		Core: s.Core, Cluster: s.Cluster, Seed: s.Seed, Since: cfg.end(e.since[i]), Evidence: s.Evidence,
	}
}

// suspectsJSON is the answer of /api/v1/suspects.
type suspectsJSON struct {
	Epoch    epochSummary      `json:"epoch"`
	Total    int               `json:"total"`
	LeftOut  int               `json:"left_out"`
	Suspects []suspectJSON     `json:"suspects"`
	Clusters []verdict.Cluster `json:"clusters"`
}

func (d *Detector) getSuspects(w http.ResponseWriter, r *http.Request) error {
	top, err := intParam(r, "top", defaultTop, 0, maxTop)
	if err != nil {
		return err
	}
	e := d.epoch.Load()
	if e == nil {
		return errNoEpoch
	}
	out := suspectsJSON{
		Epoch: e.recent[0], Total: len(e.verdict.Suspects), LeftOut: e.verdict.LeftOut,
		Suspects: []suspectJSON{}, Clusters: []verdict.Cluster{},
	}
	for i := range min(top, out.Total) {
		out.Suspects = append(out.Suspects, e.suspect(i, d.cfg))
	}
	out.Clusters = append(out.Clusters, e.verdict.Clusters[:min(top, len(e.verdict.Clusters))]...)
	return writeJSON(w, out)
}

// getScores streams the scores of all hosts in canonical order as JSON Lines,
// numbers with all their digits. The header Flowhound-Slice names the epoch.
func (d *Detector) getScores(w http.ResponseWriter, _ *http.Request) error {
	e := d.epoch.Load()
	if e == nil {
		return errNoEpoch
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Flowhound-Slice", strconv.FormatUint(uint64(e.slice), 10))
	b := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for x := range e.view.Len() {
		line = e.appendScore(line[:0], graph.Vertex(x))
		if _, err := b.Write(line); err != nil {
			return nil // the reader went away
		}
	}
	_ = b.Flush()
	return nil
}

// appendScore appends the line of one host.
func (e *epoch) appendScore(b []byte, x graph.Vertex) []byte {
	n := float64(e.view.Len())
	number := func(v float64) { b = strconv.AppendFloat(b, v, 'g', -1, 64) }
	b = append(b, `{"pseudonym":"`...)
	b = append(b, e.pseudonym(x)...)
	b = append(b, `","client_rank":`...)
	number(n * e.ranks.Client[x])
	b = append(b, `,"server_rank":`...)
	number(n * e.ranks.Server[x])
	b = append(b, `,"score":`...)
	number(e.verdict.Scores[x])
	return append(b, '}', '\n')
}
