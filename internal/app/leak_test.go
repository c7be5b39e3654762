package app

import (
	"testing"

	"go.uber.org/goleak"
)

// An appliance that has stopped leaves nothing running behind.
func TestStopLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a, err := New(testConfig(t), All, Deps{Logger: NewLogger(t.Output(), LoggingConfig{Level: Quiet})})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := a.Background(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
