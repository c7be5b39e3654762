package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A reader that waits gets what is published later, and goes on across a
// lost consumer.
func TestReaderFollows(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	r, err := l.Batches(limit(t), 3, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 40 {
		if i%10 == 5 {
			s, err := l.js.Stream(limit(t), contactStream(3))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteConsumer(limit(t), r.consumer.CachedInfo().Name); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			time.Sleep(5 * time.Millisecond)
			_ = l.Publish(3, fmt.Sprint(i), fmt.Append(nil, i))
		}()
		seq, shard, payload, err := r.Next(limit(t))
		if err != nil || seq != uint64(i+1) || shard != 3 || string(payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: got %d, shard %d, %q, error %v", i, seq, shard, payload, err)
		}
	}
	if testutil.ToFloat64(l.metrics.restarts.WithLabelValues("CONTACTS_3")) < 4 {
		t.Error("the reader did not notice that its consumer was gone")
	}
}

func TestGap(t *testing.T) {
	ctx := limit(t)
	l := open(t, testConfig(t.TempDir()))
	for i := range 10 {
		publish(t, l, 2, fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	syncLog(t, l)
	behind, err := l.Batches(ctx, 2, nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()

	// What dropping by size does, without a gibibyte of messages.
	s, err := l.js.Stream(ctx, contactStream(2))
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 4
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	isGap := func(err error, want GapError) {
		t.Helper()
		var gap *GapError
		if !errors.As(err, &gap) || *gap != want {
			t.Errorf("got %v, want %v", err, &want)
		}
	}
	next := func(r *BatchReader, want uint64) {
		t.Helper()
		if seq, _, _, err := r.Next(ctx); seq != want || err != nil {
			t.Errorf("next: got %d, %v, want %d", seq, err, want)
		}
	}
	batches := func(from uint64) *BatchReader {
		r, err := l.Batches(ctx, 2, nil, from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	_, _, _, err = behind.Next(ctx)
	isGap(err, GapError{"CONTACTS_2", 3, 7, 7})
	next(behind, 7)
	next(behind, 8)
	_, _, _, err = batches(6).Next(ctx)
	isGap(err, GapError{"CONTACTS_2", 6, 7, 10})
	next(batches(7), 7)
	next(batches(0), 7)
	var skipped error
	skipping := batches(1)
	skipping.OnGap(func(gap *GapError) { skipped = gap })
	next(skipping, 7)
	isGap(skipped, GapError{"CONTACTS_2", 1, 7, 10})
	if first, last, err := l.BatchBounds(ctx, 2); first != 7 || last != 10 || err != nil {
		t.Errorf("bounds: got %d to %d, %v, want 7 to 10", first, last, err)
	}
	if first, last, err := l.ControlBounds(ctx); first != 1 || last != 0 || err != nil {
		t.Errorf("bounds of an empty stream: got %d to %d, %v, want 1 to 0", first, last, err)
	}
	batches(11)
	_, err = l.Batches(ctx, 2, nil, 12)
	isGap(err, GapError{"CONTACTS_2", 12, 0, 10})
}

// Damage may cost messages inside a stream; the reader says which and goes on.
func TestHole(t *testing.T) {
	ctx := limit(t)
	l := open(t, testConfig(t.TempDir()))
	const name = "CONTACTS_0"
	if err := l.js.DeleteStream(ctx, name); err != nil {
		t.Fatal(err)
	}
	c := l.streamConfigs()[1]
	c.DenyDelete = false
	s, err := l.js.CreateStream(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		publish(t, l, 0, fmt.Sprint(i), "x")
	}
	syncLog(t, l)
	for _, seq := range []uint64{3, 4} {
		if err := s.DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Batches(ctx, 0, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for range 4 {
		seq, _, _, err := r.Next(ctx)
		got = append(got, fmt.Sprint(seq, err))
	}
	want(t, "around the hole", strings.Join(got, ", "),
		"1 <nil>, 2 <nil>, 0 log stream CONTACTS_0: messages 3 to 4 are gone, 5 <nil>")
}

// The delivery count of a consumer shows what was lost on the way.
func TestLostDelivery(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	publish(t, l, 0, "1", "one")
	syncLog(t, l)
	r, err := l.Batches(limit(t), 0, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if seq := r.accept(delivery{number: 2, seq: 1}); seq != 0 || r.consumer != nil {
		t.Errorf("second delivery without a first: accepted as %d", seq)
	}
	if seq, _, _, err := r.Next(limit(t)); seq != 1 || err != nil {
		t.Errorf("after that: got %d, %v", seq, err)
	}
}

// delivery is a message with nothing but its numbers.
type delivery struct {
	jetstream.Msg
	number, seq uint64
}

func (d delivery) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Consumer: d.number, Stream: d.seq}}, nil
}

func TestCloseWhileReading(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	r, err := l.Control(limit(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		_, _, _, err := r.Next(context.Background())
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	r.Close()
	r.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("next: got %v, want %v", err, ErrClosed)
	}
}

func TestPublishTooLarge(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	if err := l.Publish(0, "a.1.0.1", make([]byte, l.MaxPayload()+1)); err == nil || !strings.Contains(err.Error(), "a.1.0.1") {
		t.Errorf("too large: got %v", err)
	}
	sizes := []int{l.MaxPayload(), 1, l.MaxPayload(), fetchBytes, l.MaxPayload(), 0}
	for i, n := range sizes {
		if err := l.Publish(0, fmt.Sprint(i), make([]byte, n)); err != nil {
			t.Error(err)
		}
	}
	syncLog(t, l)
	r, err := l.Batches(limit(t), 0, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begin := time.Now()
	for i, n := range sizes {
		if _, _, b, err := r.Next(limit(t)); len(b) != n || err != nil {
			t.Errorf("message %d: got %d bytes, %v, want %d", i, len(b), err, n)
		}
	}
	if took := time.Since(begin); took > fetchTime/2 {
		t.Errorf("reading took %v: a fetch waited for its end", took)
	}
	if n := testutil.ToFloat64(l.metrics.restarts.WithLabelValues("CONTACTS_0")); n != 0 {
		t.Errorf("%v consumers were made anew for large messages", n)
	}
}
