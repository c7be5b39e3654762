package grafana_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/peer"
)

// Every query of the dashboard and every recording rule returns data from a
// real Prometheus that scrapes a real appliance; every alert is evaluated
// without an error, over metrics that exist.
func TestQueriesReturnData(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the appliance and Prometheus, about 30 s")
	}
	peer.Need(t, "prometheus")
	target := startAppliance(t)
	prom := startPrometheus(t, target.http, target.pop)
	stop := target.feed(t)
	defer stop()

	wanted := dashboardQueries(t)
	for name, expr := range recordingRules(t, prom) {
		wanted["rule "+name] = expr
	}
	for name, metric := range alertMetrics(t, prom) {
		wanted[name] = metric
	}
	if len(wanted) < 50 {
		t.Fatalf("got %d queries, want those of some 25 panels and 19 rules", len(wanted))
	}
	empty := eventually(t, 90*time.Second, func() []string { return unanswered(t, prom, wanted) })
	for _, e := range empty {
		t.Error(e)
	}
	for _, r := range prom.rules(t) {
		if r.Health != "ok" {
			t.Errorf("rule %s: health %q: %s", r.Name, r.Health, r.LastError)
		}
	}
	t.Logf("%d queries return data", len(wanted)-len(empty))
}

// dashboardQueries returns the queries of all panels, with Grafana's variables
// set as for "All" and a scrape interval of one second.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	queries := map[string]string{}
	variables := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "4s")
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			queries[fmt.Sprintf("panel %q query %s", p.Title, q.RefID)] = variables.Replace(q.Expr)
		}
	}
	return queries
}

func recordingRules(t *testing.T, p *prometheus) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, r := range p.rules(t) {
		if r.Type == "recording" {
			found[r.Name] = r.Name
		}
	}
	return found
}

var metricInExpr = regexp.MustCompile(`\b(?:flowhound[a-z0-9_:]*|up)\b`)

// alertMetrics returns each metric that an alert's expression uses: an alert
// on a metric that does not exist never fires and looks healthy.
func alertMetrics(t *testing.T, p *prometheus) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, r := range p.rules(t) {
		if r.Type != "alerting" {
			continue
		}
		for _, m := range metricInExpr.FindAllString(stringLiteral.ReplaceAllString(r.Query, `""`), -1) {
			found[fmt.Sprintf("metric %s of alert %s", m, r.Name)] = m
		}
	}
	return found
}

var stringLiteral = regexp.MustCompile(`"[^"]*"`)

// unanswered returns the queries without data, or with none but NaN.
func unanswered(t *testing.T, p *prometheus, queries map[string]string) []string {
	t.Helper()
	var empty []string
	for name, expr := range queries {
		if err := p.hasData(expr); err != nil {
			empty = append(empty, fmt.Sprintf("%s: %v: %s", name, err, expr))
		}
	}
	sort.Strings(empty)
	return empty
}

// eventually calls f every second until it finds nothing or the time is over.
func eventually(t *testing.T, limit time.Duration, f func() []string) []string {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		found := f()
		if len(found) == 0 || time.Now().After(deadline) {
			return found
		}
		time.Sleep(time.Second)
	}
}

// prometheus is a running Prometheus server.
type prometheus struct{ url string }

type rule struct{ Name, Query, Type, Health, LastError string }

func (p *prometheus) get(path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("prometheus: %s", answer.Error)
	}
	return nil
}

func (p *prometheus) rules(t *testing.T) []rule {
	t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	if err := p.get("/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	var list []rule
	for _, g := range data.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// hasData returns nil if expr has a sample that is a number.
func (p *prometheus) hasData(expr string) error {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return err
	}
	for _, r := range data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("no data in %d series", len(data.Result))
}
