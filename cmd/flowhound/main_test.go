package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestMain lets scripts and end-to-end tests run this test binary as the
// program itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"flowhound": main})
}

// The scripts in testdata/script show each command as a user types it: what it
// prints, what it says when something is wrong, its exit status.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			return os.MkdirAll(env.WorkDir+"/state", 0o700)
		},
	})
}
