package load

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/collector/listen"
)

// prefillBuffer is what is asked for the receive queue; the kernel may grant
// less, then a repetition takes several rounds.
const prefillBuffer = 1 << 30

// gate is a collector's input on one real socket, which it drains in rounds: a
// round begins when the queue holds all its packets.
type gate struct {
	sockets *listen.Sockets
	begin   chan uint64        // packets of the next round
	drained chan time.Duration // CPU time that the round took the receiving thread
	dropped uint64
	size    int // bytes of kernel memory that a waiting packet takes, 0 before the first one
}

func openGate() (*gate, error) {
	s, err := listen.Open(listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1, ReceiveBuffer: prefillBuffer})
	if err != nil {
		return nil, err
	}
	return &gate{sockets: s, begin: make(chan uint64), drained: make(chan time.Duration)}, nil
}

// The methods of [collector.Input] and [collector.Source].

func (g *gate) Workers() int                { return 1 }
func (g *gate) Source(int) collector.Source { return g }
func (g *gate) Stats() []listen.SocketStats { return g.sockets.Stats() }
func (g *gate) Close() error                { return g.sockets.Close() }

// Receive measures what handle and the calls of the kernel cost the thread.
func (g *gate) Receive(ctx context.Context, handle func([]listen.Packet), idle func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var left uint64
	var begin time.Duration
	wait := func() (ok bool) {
		select {
		case left = <-g.begin:
			begin = threadCPU()
			return true
		case <-ctx.Done():
			return false
		}
	}
	if !wait() {
		return nil
	}
	return g.sockets.Worker(0).Receive(ctx, func(batch []listen.Packet) {
		handle(batch)
		if left -= min(left, uint64(len(batch))); left > 0 {
			return
		}
		select {
		case g.drained <- threadCPU() - begin:
			wait()
		case <-ctx.Done():
		}
	}, idle)
}

func (g *gate) address() netip.AddrPort { return g.sockets.Addresses()[0] }

// room returns how many packets the receive queue surely holds.
func (g *gate) room() int {
	s := g.Stats()[0]
	if g.size == 0 {
		return burst
	}
	return 2 * s.ReceiveBuffer / g.size * 4 / 5
}

// fill sends up to n data packets, as many as the queue holds, and returns how
// many of all kinds wait in it.
func (g *gate) fill(ctx context.Context, f *filler, n int) (sent int, waiting uint64, err error) {
	before := f.sent
	if err := f.templates(ctx); err != nil {
		return 0, 0, err
	}
	for sent < n {
		k := min(n-sent, g.room()-sent)
		if k <= 0 {
			break
		}
		if err := f.fill(ctx, k); err != nil {
			return sent, 0, err
		}
		sent += k
		if g.size == 0 {
			g.size = max(1, g.Stats()[0].Queued/int(f.sent-before))
		}
	}
	drops := g.Stats()[0].KernelDrops - g.dropped
	g.dropped += drops
	if waiting = f.sent - before - drops; drops > 0 {
		return sent, waiting, fmt.Errorf("%d of %d packets found the receive queue full", drops, f.sent-before)
	}
	return sent, waiting, nil
}

// drain lets the receiver take the packets that wait, and returns the CPU time
// of its thread.
func (g *gate) drain(ctx context.Context, waiting uint64) (time.Duration, error) {
	select {
	case g.begin <- waiting:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case took := <-g.drained:
		return took, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
