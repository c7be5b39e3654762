package detector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// apiSource is the source of the seeds that the API sets.
const apiSource = "api"

// readBack is how long a change of the seeds waits to be read back, so that
// the next GET shows it.
const readBack = 2 * time.Second

// seedsBody is the body of POST and DELETE: pseudonyms.
type seedsBody struct {
	Hosts []string `json:"hosts"`
}

func (d *Detector) getSeeds(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]any{"seeds": d.listSeeds()})
}

// listSeeds returns the seeds of all sources, and whether the last epoch knows
// the hosts.
func (d *Detector) listSeeds() []seedJSON {
	list := slices.Clone(d.status.Load().Seeds)
	if e := d.epoch.Load(); e != nil {
		for i := range list {
			_, list[i].InGraph = e.view.Find(list[i].host)
			if !list[i].InGraph {
				_, list[i].InGraph = e.view.FindPseudonym(list[i].host.Pseudonym)
			}
		}
	}
	if list == nil {
		list = []seedJSON{}
	}
	return list
}

func (d *Detector) postSeeds(w http.ResponseWriter, r *http.Request) error {
	return d.updateSeeds(w, r, func(old, given []wire.Seed) ([]wire.Seed, error) {
		known := keysOf(old)
		for _, s := range given {
			if key := keyOf(s); !known[key] {
				known[key], old = true, append(old, s)
			}
		}
		if len(old) > wire.MaxSeeds {
			return nil, &apiError{http.StatusRequestEntityTooLarge, fmt.Sprintf("%d seeds: want at most %d", len(old), wire.MaxSeeds)}
		}
		return old, nil
	})
}

func (d *Detector) deleteSeeds(w http.ResponseWriter, r *http.Request) error {
	return d.updateSeeds(w, r, func(old, given []wire.Seed) ([]wire.Seed, error) {
		known, gone := keysOf(old), keysOf(given)
		for _, s := range given {
			if !known[keyOf(s)] {
				return nil, &apiError{http.StatusNotFound, "seed " + s.Host.Pseudonym.Text(s.Generation) + " was not set by the API"}
			}
		}
		return slices.DeleteFunc(old, func(s wire.Seed) bool { return gone[keyOf(s)] }), nil
	})
}

// seedKey tells seeds apart: the shard may be unknown.
type seedKey struct {
	pseudonym  flow.Pseudonym
	generation flow.Generation
}

func keyOf(s wire.Seed) seedKey { return seedKey{s.Host.Pseudonym, s.Generation} }

func keysOf(seeds []wire.Seed) map[seedKey]bool {
	keys := make(map[seedKey]bool, len(seeds))
	for _, s := range seeds {
		keys[keyOf(s)] = true
	}
	return keys
}

// updateSeeds replaces the API's seeds by what change makes of them and of the
// hosts in the request, and answers with the list of all seeds.
func (d *Detector) updateSeeds(w http.ResponseWriter, r *http.Request, change func(old, given []wire.Seed) ([]wire.Seed, error)) error {
	given, err := d.readSeeds(r)
	if err != nil {
		return err
	}
	d.changeSeeds.Lock()
	defer d.changeSeeds.Unlock()
	seq, old, err := d.lastSeeds(r.Context())
	if err != nil {
		return err
	}
	next, err := change(old, given)
	if err != nil {
		return err
	}
	message := wire.Seeds{Source: apiSource, Hosts: next}
	seq, err = d.deps.Log.AppendControl(r.Context(), message.Key(), seq, message.Append(nil))
	if errors.Is(err, ErrConflict) {
		return &apiError{http.StatusConflict, "the seeds were changed elsewhere at the same time; try again"}
	}
	if err != nil {
		return fmt.Errorf("append seeds: %w", err)
	}
	for until := time.Now().Add(readBack); d.status.Load().Control < seq && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	return d.getSeeds(w, r)
}

// readSeeds reads the hosts of a request. The shard of a host that is not in
// the window stays 0; an epoch finds it by its pseudonym.
func (d *Detector) readSeeds(r *http.Request) ([]wire.Seed, error) {
	var body seedsBody
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, &apiError{http.StatusBadRequest, `body: want {"hosts": ["p1.…", …]}: ` + err.Error()}
	}
	if len(body.Hosts) == 0 {
		return nil, &apiError{http.StatusBadRequest, "hosts: want at least one pseudonym"}
	}
	e := d.epoch.Load()
	seeds := make([]wire.Seed, len(body.Hosts))
	for i, text := range body.Hosts {
		p, g, err := flow.ParsePseudonym(text)
		if err != nil {
			return nil, &apiError{http.StatusBadRequest, err.Error()}
		}
		seeds[i] = wire.Seed{Host: flow.Host{Pseudonym: p}, Generation: g}
		if e != nil {
			if x, ok := e.view.FindPseudonym(p); ok {
				seeds[i].Host = e.view.Host(x)
			}
		}
	}
	return seeds, nil
}

// lastSeeds returns the API's seeds as the log has them.
func (d *Detector) lastSeeds(ctx context.Context) (uint64, []wire.Seed, error) {
	seq, payload, err := d.deps.Log.LastControl(ctx, wire.SeedsKey(apiSource))
	if err != nil {
		return 0, nil, fmt.Errorf("last seeds: %w", err)
	}
	if seq == 0 {
		return 0, nil, nil
	}
	c, err := wire.ReadControl(payload)
	if err != nil {
		return 0, nil, fmt.Errorf("last seeds: %w", err)
	}
	seeds, ok := c.(wire.Seeds)
	if !ok {
		return 0, nil, fmt.Errorf("last seeds: is a %T", c)
	}
	return seq, seeds.Hosts, nil
}
