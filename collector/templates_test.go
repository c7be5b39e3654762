package collector

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/pseudonym"
)

// The template file is a convenience: what is wrong with it is counted and
// logged, and the collector works.
func TestTemplateFileTrouble(t *testing.T) {
	start := func(t *testing.T, path, keys string) *rig {
		return startRig(t, setup{keys: keys, config: func(c *Config) { c.Templates.File = path }})
	}
	f := func(what string, prepare func(t *testing.T, path string), reads, writes float64, says string) {
		t.Helper()
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "templates")
				prepare(t, path)
				r := start(t, path, "")
				r.sources[0].feed(r.v5("127.0.0.1", record{src: "10.0.0.1", dst: "10.0.0.2"}))
				time.Sleep(templatesEvery + time.Second)
				synctest.Wait()
				if got, wrote := r.metric("template_file_errors_total", "read"), r.metric("template_file_errors_total", "write"); got != reads || wrote < writes || writes == 0 && wrote != 0 {
					t.Errorf("%v read and %v write errors, want %v and %v", got, wrote, reads, writes)
				}
				if !strings.Contains(r.logs.String(), says) {
					t.Errorf("log without %q:\n%s", says, r.logs)
				}
				r.stop()
				r.conserved()
			})
		})
	}
	put := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f("none yet", func(*testing.T, string) {}, 0, 0, "collector started")
	f("empty", put(""), 1, 0, "set aside")
	f("rubbish", put("FHTMPL2\n\x01 and more"), 1, 0, "set aside")
	f("a directory", func(t *testing.T, path string) {
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}, 1, 1, "not written")
}

// After a rotation of the keys the file is read by the generation that it was
// written with, and written by the new one.
func TestTemplateFileOverRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path, keys := filepath.Join(dir, "templates"), filepath.Join(dir, "keys")
		first := startRig(t, setup{keys: keys, config: func(c *Config) { c.Templates.File = path }})
		first.stop()
		k, err := pseudonym.ReadKeyFile(keys)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Rotate(); err != nil {
			t.Fatal(err)
		}
		second := startRig(t, setup{keys: keys, config: func(c *Config) { c.Templates.File = path }})
		if g := second.templates.saved.Generation(); g != 1 || second.templates.namer.Generation() != 1 {
			t.Errorf("file of generation %d read by %d, want 1", g, second.templates.namer.Generation())
		}
		second.stop()
		saved, err := readTemplates(path, second.nowMS())
		if err != nil || saved.Generation() != 2 {
			t.Errorf("file after rotation: %v, generation %d, want 2", err, saved.Generation())
		}
	})
}
