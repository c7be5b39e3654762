package detector

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A graph above MaxLinks forgets its oldest slices when one is closed, says so
// under its reason, and has the same scores after a kill as without one.
func TestMaxLinks(t *testing.T) {
	full, dir := scenario(12), t.TempDir()
	d := boot(t, full, t.TempDir(), testConfig())
	settled(t, d)
	links := d.epoch.Load().view.Links()
	stop(t, d)

	cfg := testConfig()
	cfg.MaxLinks = uint64(links) * 5 / 6
	registry := prometheus.NewPedanticRegistry()
	d, err := New(cfg, Deps{Log: full, Registerer: registry, Dir: t.TempDir(), Now: frozen})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	settled(t, d)
	if got := d.epoch.Load().view.Links(); got == 0 || got > int(cfg.MaxLinks) {
		t.Errorf("got %d links, want at most %d of %d", got, cfg.MaxLinks, links)
	}
	dropped := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "flowhound_detector_contact_drops_total" {
			for _, m := range f.Metric {
				dropped[m.Label[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(dropped) != 9 || dropped["link_limit"] == 0 {
		t.Errorf("got drops %v, want some as link_limit, of 9 reasons", dropped)
	}
	for reason, n := range dropped {
		if reason != "link_limit" && reason != "self_link" && n > 0 {
			t.Errorf("got %v drops as %s", n, reason)
		}
	}
	want := scores(t, d)
	for _, control := range []int{len(full.control) / 2, len(full.control)} {
		d := boot(t, full.prefix(control), dir, cfg)
		settled(t, d)
		if got := scores(t, d); control == len(full.control) && got != want {
			t.Errorf("killed halfway: got other scores")
		}
		stop(t, d)
	}
}
