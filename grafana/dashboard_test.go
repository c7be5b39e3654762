package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// dashboard is what the tests look at of a dashboard in Grafana's classic
// schema.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Editable      bool
	Panels        []panel
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  *struct{ Type, UID string }
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		RefID, Expr string
		Datasource  *struct{ UID string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	data, err := os.ReadFile("dashboards/flowhound.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The rules of Grafana's dashboard-linter that a classic dashboard can break:
// title and description, unit, data source variable, job and instance in every
// query, $__rate_interval in every rate.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || d.Editable || len(d.Panels) < 10 {
		t.Errorf("dashboard %q: uid %q, schema %d, editable %v, %d panels", d.Title, d.UID, d.SchemaVersion, d.Editable, len(d.Panels))
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if got := strings.Join(variables, " "); got != "datasource job instance" {
		t.Errorf("variables: got %q", got)
	}
	for _, p := range d.Panels {
		for _, fault := range panelFaults(p) {
			t.Errorf("panel %d %q: %s", p.ID, p.Title, fault)
		}
	}
	for _, fault := range layoutFaults(d.Panels) {
		t.Error(fault)
	}
}

func panelFaults(p panel) (faults []string) {
	add := func(broken bool, format string, args ...any) {
		if broken {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	add(p.Title == "", "no title")
	if p.Type == "row" {
		return faults
	}
	add(!strings.HasSuffix(p.Description, "."), "description is no sentence: %q", p.Description)
	add(p.FieldConfig.Defaults.Unit == "", "no unit")
	add(p.Datasource == nil || p.Datasource.UID != "${datasource}", "data source is not the variable")
	add(len(p.Targets) == 0, "no query")
	for _, q := range p.Targets {
		add(q.Datasource == nil || q.Datasource.UID != "${datasource}", "query %s: data source is not the variable", q.RefID)
		selectors := strings.Count(q.Expr, "{")
		add(selectors == 0 || strings.Count(q.Expr, `job=~"$job",instance=~"$instance"`) != selectors, "query %s: a selector without job and instance: %s", q.RefID, q.Expr)
		add(strings.Count(q.Expr, "rate(") != strings.Count(q.Expr, "[$__rate_interval]"), "query %s: a rate without $__rate_interval: %s", q.RefID, q.Expr)
	}
	return faults
}

// layoutFaults checks that ids differ and that no two panels share a cell of
// the 24 columns.
func layoutFaults(panels []panel) (faults []string) {
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range panels {
		if ids[p.ID] {
			faults = append(faults, fmt.Sprintf("panel id %d is there twice", p.ID))
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			faults = append(faults, fmt.Sprintf("panel %q is out of the grid: %+v", p.Title, g))
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					return append(faults, fmt.Sprintf("panel %q lies on %q", p.Title, other))
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
	return faults
}

// The checks find faults that are put in.
func TestDashboardChecksBite(t *testing.T) {
	f := func(want string, change func(*panel)) {
		t.Helper()
		for _, p := range readDashboard(t).Panels {
			if p.Type != "timeseries" {
				continue
			}
			change(&p)
			if got := fmt.Sprint(panelFaults(p), layoutFaults([]panel{p, p})); !strings.Contains(got, want) {
				t.Errorf("got %s, want %q", got, want)
			}
			return
		}
	}
	f("no title", func(p *panel) { p.Title = "" })
	f("description", func(p *panel) { p.Description = "x" })
	f("no unit", func(p *panel) { p.FieldConfig.Defaults.Unit = "" })
	f("without job", func(p *panel) { p.Targets[0].Expr = `sum(up{job="a"})` })
	f("without $__rate_interval", func(p *panel) { p.Targets[0].Expr = `rate(x{job=~"$job",instance=~"$instance"}[5m])` })
	f("is there twice", func(*panel) {})
	f("lies on", func(*panel) {})
}
