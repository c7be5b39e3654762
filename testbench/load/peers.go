package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ownName is FlowHound's name among the receivers.
const ownName = "flowhound"

// round is how many packets wait in a receive queue at most, FlowHound's as its
// peers': 38 MB of the kernel's memory. A longer queue measures the main memory:
// what a live receiver reads has just been written.
const round = 16_384

// enough is the CPU time after which a repetition of a receiver ends: what it
// spends once, on memory that it never touched before, hardly shows in it.
const enough = 8 * time.Second

// mostRounds ends the repetitions of the fastest.
const mostRounds = 128

// peer is a receiver: how to get it, start it, and ask what it took.
type peer struct {
	name, pack string
	signal     unix.Signal // that ends it cleanly
	// command starts it on an address, with its files in dir.
	command func(program, dir string, address netip.AddrPort) (*exec.Cmd, error)
	// taken returns the flow records that it took of those sent. It is asked
	// while the peer runs, or, where after is true, when it has ended.
	taken func(p *process, dir string, f *filler) (uint64, error)
	after bool
	// gentle, where it is not 0, is the number of packets that it gets at a
	// time; then it is waited for, as its own queues lose what comes too fast.
	gentle int
}

var peers = []peer{
	{name: "nfcapd", pack: "nfdump", signal: unix.SIGTERM, command: nfcapd, taken: nfcapdTook, after: true},
	// Of 16,384 packets at once nine tenths were lost between its processes.
	{name: "nfacctd", pack: "pmacct", signal: unix.SIGINT, command: nfacctd, taken: nfacctdTook, gentle: 2048},
	{name: "goflow2", signal: unix.SIGTERM, command: goflow2, taken: goflow2Took, gentle: round},
}

// nfcapd writes uncompressed files, its default, and rotates them never.
func nfcapd(program, dir string, a netip.AddrPort) (*exec.Cmd, error) {
	return exec.Command(program, "-b", a.Addr().String(), "-p", strconv.Itoa(int(a.Port())), "-w", dir, "-t", "3600"), nil
}

var nfcapdFlows = regexp.MustCompile(`Flows: (\d+)`)

// nfcapdTook reads the summary that nfcapd prints when it ends.
func nfcapdTook(p *process, _ string, _ *filler) (taken uint64, err error) {
	for _, m := range nfcapdFlows.FindAllStringSubmatch(p.output.String(), -1) {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		taken += n
	}
	if taken == 0 {
		return 0, errors.New("no flows in its summary")
	}
	return taken, nil
}

// nfacctd keeps pairs of hosts in memory: the nearest that it has to a
// contact. Its queues are as large as it needs to lose nothing.
func nfacctd(program, dir string, a netip.AddrPort) (*exec.Cmd, error) {
	config := fmt.Sprintf(`daemonize: false
nfacctd_ip: %s
nfacctd_port: %d
plugins: memory
aggregate: src_host,dst_host
imt_path: %s
imt_mem_pools_number: 256
imt_mem_pools_size: 4194304
imt_buckets: 262147
plugin_pipe_size: 268435456
plugin_buffer_size: 65536
`, a.Addr(), a.Port(), filepath.Join(dir, "pipe"))
	file := filepath.Join(dir, "nfacctd.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(program, "-f", file), nil
}

// nfacctdTook sums the packets that its table counts: pairs of hosts do not
// tell how many records they are made of.
func nfacctdTook(_ *process, dir string, f *filler) (uint64, error) {
	out, err := exec.Command("pmacct", "-p", filepath.Join(dir, "pipe"), "-s", "-O", "csv").Output()
	if err != nil {
		return 0, fmt.Errorf("pmacct -s: %w", err)
	}
	var sum uint64
	column := -1
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(strings.TrimSpace(line), ",")
		if column < 0 {
			column = slices.Index(cells, "PACKETS")
			continue
		}
		if column < len(cells) {
			n, _ := strconv.ParseUint(cells[column], 10, 64)
			sum += n
		}
	}
	if column < 0 {
		return 0, errors.New("pmacct -s: no column PACKETS")
	}
	return uint64(float64(f.flows) * min(1, float64(sum)/float64(f.counts))), nil
}

// goflow2 gets a socket, a worker and nobody to write to.
func goflow2(program, dir string, a netip.AddrPort) (*exec.Cmd, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	metrics := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "metrics"), []byte(metrics), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(program, "-addr", metrics, "-format", "bin", "-transport", "file", "-transport.file", os.DevNull,
		"-listen", fmt.Sprintf("netflow://%s?count=1&workers=1&queue_size=100000", a)), nil
}

var goflow2Records = regexp.MustCompile(`(?m)^goflow2_flow_process_nf_flowset_records_total\{[^}]*type="DataFlowSet"[^}]*\} ([0-9.e+]+)$`)

func goflow2Took(_ *process, dir string, _ *filler) (taken uint64, err error) {
	address, err := os.ReadFile(filepath.Join(dir, "metrics"))
	if err != nil {
		return 0, err
	}
	answer, err := http.Get("http://" + string(address) + "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	for _, m := range goflow2Records.FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.ParseFloat(m[1], 64)
		taken += uint64(n)
	}
	if taken == 0 {
		return 0, errors.New("no records in its metrics")
	}
	return taken, nil
}

// own is FlowHound as a receiver: collector and embedded log in one process,
// with their defaults.
func (r *run) own() peer {
	return peer{
		name: ownName, signal: unix.SIGTERM, after: true,
		command: func(_, dir string, a netip.AddrPort) (*exec.Cmd, error) {
			return exec.Command(r.cfg.Self[0], append(r.cfg.Self[1:len(r.cfg.Self):len(r.cfg.Self)], a.String(), dir)...), nil
		},
		taken: func(p *process, _ string, _ *filler) (uint64, error) {
			a, err := readAccount(p.output.String())
			return a.Records, err
		},
	}
}

// measurePeers fills the ratios.
func (r *run) measurePeers() error {
	if len(r.cfg.Self) == 0 {
		for _, p := range peers {
			r.result.Receivers[p.name] = &Receiver{Reason: "FlowHound itself would have to run in a process of its own"}
		}
		return nil
	}
	receivers := []peer{r.own()}
	programs := map[string]string{}
	for _, p := range peers {
		program, err := r.find(p)
		if err != nil {
			r.result.Receivers[p.name] = &Receiver{Reason: err.Error()}
			continue
		}
		programs[p.name] = program
		receivers = append(receivers, p)
	}
	if len(receivers) == 1 {
		return nil
	}
	results := map[string][]Receiver{}
	for i := range min(r.cfg.Repetitions, 3) {
		for _, p := range receivers {
			r.say("%s, repetition %d …", p.name, i+1)
			one, err := r.receive(p, programs[p.name])
			if err != nil {
				return err
			}
			results[p.name] = append(results[p.name], one)
		}
	}
	for name, list := range results {
		slices.SortFunc(list, func(a, b Receiver) int { return int(1e6 * (a.MFlows - b.MFlows)) })
		r.result.Receivers[name] = &list[(len(list)-1)/2]
	}
	for name, ratio := range map[string]**float64{"nfcapd": &r.result.Nfcapd, "nfacctd": &r.result.Nfacctd, "goflow2": &r.result.Goflow2} {
		if p := r.result.Receivers[name]; p.Reason == "" {
			x := r.result.Receivers[ownName].MFlows / p.MFlows
			*ratio = &x
		}
	}
	return nil
}

// find returns a peer's program, installing it if that is wanted.
func (r *run) find(p peer) (string, error) {
	if path, err := exec.LookPath(p.name); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = r.dir
	}
	built := filepath.Join(cache, "flowhound", "peers", p.name)
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	if !r.cfg.Peers {
		return "", errors.New("not installed; --peers installs it")
	}
	r.say("installing %s …", p.name)
	if p.pack != "" {
		return p.name, aptInstall(r.ctx, p.pack)
	}
	return built, goInstall(r.ctx, "github.com/netsampler/goflow2/v2/cmd/goflow2@v2.2.6", filepath.Dir(built))
}

func aptInstall(ctx context.Context, pack string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("not installed, and only root can install %s", pack)
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", pack}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %q", args[0], err, out[max(0, len(out)-200):])
		}
	}
	return nil
}

func goInstall(ctx context.Context, module, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "install", module)
	cmd.Dir = os.TempDir() // outside of any module
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install: %w: %q", err, out[max(0, len(out)-200):])
	}
	return nil
}

// freeAddress returns a UDP address on loopback that nobody uses.
func freeAddress() (netip.AddrPort, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, err
	}
	address := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return address, c.Close()
}

// receive runs one repetition of a receiver: while it is stopped (SIGSTOP) its
// queue is filled; then it runs until the queue is empty and it is quiet.
func (r *run) receive(which peer, program string) (Receiver, error) {
	address, err := freeAddress()
	if err != nil {
		return Receiver{}, err
	}
	dir, err := os.MkdirTemp(r.dir, which.name+"-")
	if err != nil {
		return Receiver{}, err
	}
	defer os.RemoveAll(dir)
	cmd, err := which.command(program, dir, address)
	if err != nil {
		return Receiver{}, err
	}
	p, err := startProcess(cmd)
	if err != nil {
		return Receiver{}, err
	}
	defer p.kill()
	s, err := p.findSocket(r.ctx, address)
	if err != nil {
		return Receiver{}, err
	}
	defer s.close()
	if err := s.grow(); err != nil {
		return Receiver{}, p.fail(err)
	}
	f, err := newFiller(address, r.repeats, nil, false)
	if err != nil {
		return Receiver{}, err
	}
	f.renews = true
	one, err := r.rounds(which, p, s, f, dir)
	return one, errors.Join(err, f.close())
}

func (r *run) rounds(which peer, p *process, s *socket, f *filler, dir string) (one Receiver, err error) {
	if p.before, err = p.quiet(r.ctx); err != nil {
		return one, err
	}
	now := p.before
	for i := 0; i < mostRounds && now-p.before < enough; i++ {
		n := min(round, r.cfg.Packets)
		if which.gentle > 0 {
			n = min(which.gentle, n)
		}
		if err := r.round(p, s, f, n); err != nil {
			return one, err
		}
		now = p.cpu()
		if which.gentle > 0 {
			if now, err = p.quiet(r.ctx); err != nil {
				return one, err
			}
		}
	}
	if now, err = p.quiet(r.ctx); err != nil {
		return one, err
	}
	one.Sent = f.flows
	if !which.after {
		one.Taken, err = which.taken(p, dir, f)
	}
	if err != nil {
		return one, p.fail(err)
	}
	total, err := p.stop(which.signal)
	if err != nil {
		return one, err
	}
	if which.after {
		// What it writes at the end belongs to the work. The others answer
		// questions before they end, which does not.
		now = max(now, total)
		if one.Taken, err = which.taken(p, dir, f); err != nil {
			return one, p.fail(err)
		}
	}
	if one.Taken == 0 {
		return one, p.fail(errors.New("it took no flow"))
	}
	one.MFlows = mega(one.Taken, now-p.before)
	return one, nil
}

// round fills the queue of the stopped process with up to most packets and
// lets it drain them.
func (r *run) round(p *process, s *socket, f *filler, most int) error {
	if err := unix.Kill(p.pid(), unix.SIGSTOP); err != nil {
		return p.fail(err)
	}
	err := f.templates(r.ctx)
	for n := 0; n < most && err == nil; n += burst {
		if queued, limit, _ := s.memory(); queued > limit/5*4 {
			break
		}
		err = f.fill(r.ctx, burst)
	}
	if err := errors.Join(err, unix.Kill(p.pid(), unix.SIGCONT)); err != nil {
		return p.fail(err)
	}
	return await(r.ctx, time.Minute, func() bool {
		queued, _, _ := s.memory()
		return queued == 0
	})
}
