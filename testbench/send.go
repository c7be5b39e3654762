package testbench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

// router is one exporter: an encoder and the socket of its address.
type router struct {
	encoder *exporter.Encoder
	sender  *exporter.Sender
	ipv4    bool // its protocol carries nothing else
}

// transmission sends the records of a network from several routers.
type transmission struct {
	routers []router
	clock   func() time.Time
	sent    uint64 // records handed to the routers
	lastMS  int64  // end of the newest flow
}

// openRouters opens one router for each protocol, on 127.0.0.2 and upwards if
// the target is an IPv4 loopback address. They share the pace.
func openRouters(target netip.AddrPort, protocols []exporter.Protocol, pace *rate.Limiter, clock func() time.Time) (*transmission, error) {
	t := &transmission{clock: clock}
	for i, p := range protocols {
		var source netip.Addr
		if target.Addr().Is4() && target.Addr().IsLoopback() {
			source = netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})
		}
		e, err := exporter.New(exporter.Config{Protocol: p, Domain: uint32(1 + i), BootMS: clock().Add(-time.Hour).UnixMilli()})
		if err == nil {
			var s *exporter.Sender
			if s, err = exporter.OpenSender(exporter.SenderConfig{Target: target, Source: source, Pace: pace}); err == nil {
				t.routers = append(t.routers, router{e, s, p == exporter.NetFlow5})
				continue
			}
		}
		return nil, errors.Join(fmt.Errorf("router %d: %w", i+1, err), t.close())
	}
	return t, nil
}

func (t *transmission) close() error {
	var failed error
	for _, r := range t.routers {
		failed = errors.Join(failed, r.sender.Close())
	}
	return failed
}

// send plays the network once in real time: a flow ends when it is sent. After
// every batch of records it calls pause, which may wait for the receiver.
func (t *transmission) send(ctx context.Context, n *traffic.Network, pause func(sent uint64) error) error {
	const batch = 500
	// Only the durations of the records are used.
	span := traffic.Span{FromMS: 0, ToMS: int64(time.Hour / time.Millisecond)}
	for r := range n.Records(span) {
		duration := r.EndMS - r.StartMS
		r.EndMS = t.clock().UnixMilli()
		r.StartMS = r.EndMS - duration
		t.lastMS = r.EndMS
		if err := t.route(ctx, &r); err != nil {
			return err
		}
		if t.sent++; t.sent%batch == 0 {
			if err := pause(t.sent); err != nil {
				return err
			}
		}
	}
	for _, r := range t.routers {
		if err := r.encoder.Flush(t.clock().UnixMilli(), r.emit(ctx)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return pause(t.sent)
}

// route gives a record to the router that sees its pair of hosts, whichever
// the direction.
func (t *transmission) route(ctx context.Context, r *flow.Record) error {
	pair := 0
	for i := range r.Src {
		pair += int(r.Src[i] ^ r.Dst[i])
	}
	i := pair % len(t.routers)
	for range t.routers {
		if via := &t.routers[i]; !via.ipv4 || r.Src.Is4() {
			if err := via.encoder.Add(r, r.EndMS, via.emit(ctx)); err != nil {
				return fmt.Errorf("send: %w", err)
			}
			return nil
		}
		i = (i + 1) % len(t.routers)
	}
	return fmt.Errorf("send: no router for IPv6: %w", exporter.ErrFamily)
}

func (r *router) emit(ctx context.Context) func([]byte) error {
	return func(packet []byte) error { return r.sender.Send(ctx, packet) }
}

// packets returns how many packets were sent.
func (t *transmission) packets() uint64 {
	total := uint64(0)
	for _, r := range t.routers {
		total += r.encoder.Sent().Packets
	}
	return total
}
