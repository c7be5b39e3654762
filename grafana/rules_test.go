package grafana_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/peer"
)

// promtool runs promtool in dir and returns what it prints.
func promtool(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(peer.Need(t, "promtool"), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRules(t *testing.T) {
	f := func(args ...string) {
		t.Helper()
		if out, err := promtool(t, ".", args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	f("check", "config", "prometheus.yml")
	f("check", "rules", "alerts.yml")
	f("test", "rules", "alerts_test.yml")
}

// The rule tests fail for a threshold that is off, and every alert is among
// them.
func TestRuleTestsBite(t *testing.T) {
	dir := t.TempDir()
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(rules), "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "- alert: "); ok && !strings.Contains(string(tests), name) {
			t.Errorf("alert %s has no test", name)
		}
	}
	wrong := strings.Replace(string(rules), "flowhound:detector_epoch_age:seconds > 1800", "flowhound:detector_epoch_age:seconds > 180000", 1)
	for name, text := range map[string]string{"alerts.yml": wrong, "alerts_test.yml": string(tests)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := promtool(t, dir, "test", "rules", "alerts_test.yml"); err == nil {
		t.Errorf("a wrong threshold passes:\n%s", out)
	}
}

// Each alert says in a summary what is wrong and in a runbook what to do.
func TestRunbooks(t *testing.T) {
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := strings.Split(string(rules), "- alert: ")[1:]
	if len(alerts) < 10 {
		t.Fatalf("got %d alerts", len(alerts))
	}
	for _, a := range alerts {
		name, body, _ := strings.Cut(a, "\n")
		for _, want := range []string{"severity: ", "summary: ", "runbook: >-\n"} {
			if !strings.Contains(body, want) {
				t.Errorf("alert %s has no %s", name, strings.TrimSuffix(want, ": "))
			}
		}
	}
}
