package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// maxSources is how many loopback addresses 127.0.0.0/8 has to forge, less
// 127.0.0.0/16, where the honest ones are.
const maxSources = 1<<24 - 1<<16

// sourceRate is in packets per second. One core learns some 25,000
// templates of 340 fields a second; of a faster flood the kernel drops the rest.
const sourceRate = 20_000

// honestEvery is how many forged sources come between two bursts of the honest
// exporters: often enough that each is among the 4096 that a decoder knows. The
// list of exporters in the configuration is what protects a quiet one.
const honestEvery = 512

// Sources is what forged sources and bombs did to the collector's memory.
type Sources struct {
	Sources  int     `json:"sources"`
	Packets  uint64  `json:"packets_sent"`
	Received uint64  `json:"packets_received"`
	Before   float64 `json:"rss_before_mib"`
	Peak     float64 `json:"rss_peak_mib"`
	Cap      float64 `json:"cap_mib"` // the sum of the configured bounds
	// Good are the flows of an honest exporter amidst, and GoodLost those of
	// them that are not in the log.
	Good     uint64 `json:"honest_flows_sent"`
	GoodLost uint64 `json:"honest_flows_lost"`
}

func (s *Sources) rows() []row {
	if s == nil {
		return nil
	}
	what := fmt.Sprintf("memory under %d forged sources and the bombs", s.Sources)
	rss := atMost(what, s.Peak, 1.1*s.Cap, "%.0f", " MiB")
	rss.value += fmt.Sprintf(", %.0f before", s.Before)
	return []row{rss, atMost("flows that an honest exporter loses amidst", float64(s.GoodLost), 0, "%.0f", "")}
}

// capMiB sums what the configuration and the decoder's constants allow a
// collector of one worker to hold.
func capMiB() float64 {
	c := collector.DefaultConfig()
	tables := 2 * (65*c.Contacts + 89*c.ContactsIPv6)
	return float64(tables+decode.MaxTemplateBytes+decode.MaxHeldBytes+144*c.Queue) / (1 << 20)
}

// measureSources sends templates and bombs from as many addresses as wanted,
// and a good exporter's packets between them.
func (r *run) measureSources() error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.dir, "sources-")
	if err != nil {
		return err
	}
	cmd, _ := r.own().command("", dir, address)
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	defer p.kill()
	s, err := p.findSocket(r.ctx, address)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := p.quiet(r.ctx); err != nil {
		return err
	}
	x := &Sources{Sources: r.cfg.Sources, Cap: capMiB(), Before: memoryOf(p.pid(), "VmRSS:")}
	good, err := newFiller(address, r.repeats, nil, false)
	if err != nil {
		return err
	}
	err = apart(func() error { return r.flood(x, address, good) })
	if err := errors.Join(err, good.close()); err != nil {
		return err
	}
	if _, err := p.quiet(r.ctx); err != nil {
		return err
	}
	x.Peak = memoryOf(p.pid(), "VmHWM:")
	if _, err := p.stop(unix.SIGTERM); err != nil {
		return err
	}
	a, err := readAccount(p.output.String())
	if err != nil {
		return p.fail(err)
	}
	x.Received = a.Packets
	x.Good = good.flows
	x.GoodLost = x.Good - min(x.Good, a.Records)
	r.result.Sources = x
	return nil
}

// flood sends one packet from each source: every eighth a bomb, the others a
// template of the largest kind.
func (r *run) flood(x *Sources, target netip.AddrPort, good *filler) error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := good.templates(r.ctx); err != nil {
		return err
	}
	wide, corpus := wideTemplate(), Bombs()
	pace := exporter.NewPace(sourceRate)
	oob := sourceMessage()
	for i := range x.Sources {
		b := wide
		if i%8 == 0 {
			b = corpus[i/8%len(corpus)]
		}
		be.PutUint32(oob[len(oob)-8:], 127<<24|1<<16+uint32(i))
		if i%burst == 0 {
			if err := pace.WaitN(r.ctx, burst); err != nil {
				return err
			}
		}
		if _, _, err := c.WriteMsgUDPAddrPort(b, oob, target); err != nil {
			return err
		}
		x.Packets++
		if i%honestEvery == honestEvery-1 {
			if err := good.fill(r.ctx, burst); err != nil {
				return err
			}
		}
	}
	x.Packets += good.sent
	time.Sleep(100 * time.Millisecond)
	return nil
}

// sourceMessage returns a control message that chooses a packet's source
// address, its last 8 bytes but 4 (ip(7), struct in_pktinfo).
func sourceMessage() []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(12)))
	b = binary.NativeEndian.AppendUint32(b, unix.IPPROTO_IP)
	b = binary.NativeEndian.AppendUint32(b, unix.IP_PKTINFO)
	return append(b, make([]byte, 12)...)
}

// memoryOf returns a line of /proc/<pid>/status in MiB, 0 if it is not there.
func memoryOf(pid int, name string) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}
