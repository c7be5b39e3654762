package load

import (
	"context"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/time/rate"

	"github.com/flowhound/flowhound/testbench/exporter"
)

// exporters is the number of routers that share the traffic, at 127.0.0.2 and
// upwards.
const exporters = 4

// burst is how many packets one router sends before the next has its turn:
// what fits one segmented call.
const burst = 64

// filler sends packets, over and over, from several routers.
type filler struct {
	*packets
	senders  []*exporter.Sender
	sequence [exporters]uint32
	next     int // data packet
	turn     int // router
	// renews gives the packets new hosts whenever all were sent.
	renews bool
	// tolerant goes on when nobody listens: what is sent then counts as sent.
	tolerant bool

	sent          uint64 // packets of all kinds
	flows, counts uint64 // flow records in them, and the packets these count
}

// newFiller opens the routers' sockets. Packets that are sent joined go through
// the kernel as one until somebody wants them apart, as those do that a network
// card's driver joins at high rates.
func newFiller(target netip.AddrPort, p *packets, pace *rate.Limiter, joined bool) (*filler, error) {
	f := &filler{packets: p}
	for i := range exporters {
		s, err := exporter.OpenSender(exporter.SenderConfig{Target: target, Segment: joined, Pace: pace,
			Source: netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})})
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.senders = append(f.senders, s)
	}
	return f, nil
}

func (f *filler) close() (err error) {
	for _, s := range f.senders {
		err = errors.Join(err, s.Close())
	}
	return err
}

// templates sends every router's template.
func (f *filler) templates(ctx context.Context) error {
	if f.template == nil {
		return nil
	}
	for i, s := range f.senders {
		f.sequence[i] += f.setSequence(f.template, f.sequence[i], false)
		if err := f.excuse(errors.Join(s.Send(ctx, f.template), s.Flush(ctx))); err != nil {
			return err
		}
		f.sent++
	}
	return nil
}

// fill sends n data packets.
func (f *filler) fill(ctx context.Context, n int) error {
	for n > 0 {
		s, k := f.senders[f.turn], min(n, burst)
		for range k {
			b := f.data[f.next]
			f.sequence[f.turn] += f.setSequence(b, f.sequence[f.turn], true)
			if err := f.excuse(s.Send(ctx, b)); err != nil {
				return err
			}
			f.flows += uint64(f.perPacket)
			f.counts += f.counters[f.next]
			if f.next++; f.next == len(f.data) {
				f.next = 0
				if f.renews {
					f.renew()
				}
			}
		}
		if err := f.excuse(s.Flush(ctx)); err != nil {
			return err
		}
		f.sent += uint64(k)
		f.turn = (f.turn + 1) % len(f.senders)
		n -= k
	}
	return nil
}

func (f *filler) excuse(err error) error {
	if f.tolerant && errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}
