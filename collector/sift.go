package collector

import (
	"math"
	"net/netip"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// Bounds of a flow record's times relative to its receive time
// (notes/security.md T5).
const (
	maxPast   = 24 * time.Hour
	maxFuture = 5 * time.Minute
)

// filterReason says why a flow record is no part of the graph.
type filterReason uint8

const (
	keep filterReason = iota
	filterUnspecified
	filterLoopback
	filterLinkLocal
	filterMulticast
	filterBroadcast
	filterIgnored
	filterSameHost
	filterNewContacts
	filterReasons
)

var filterNames = [filterReasons]string{
	filterUnspecified: "unspecified",
	filterLoopback:    "loopback",
	filterLinkLocal:   "link_local",
	filterMulticast:   "multicast",
	filterBroadcast:   "broadcast",
	filterIgnored:     "ignored",
	filterSameHost:    "same_host",
	filterNewContacts: "new_contacts",
}

// clampReason says which time of a flow record was not credible.
type clampReason uint8

const (
	clampEndPast   clampReason = iota // end more than 24 h ago
	clampEndFuture                    // end more than 5 min ahead
	clampStart                        // start more than 24 h ago, or after the end
	clampReasons
)

var clampNames = [clampReasons]string{"end_past", "end_future", "start"}

// siftCounts are what a sift did, cumulative.
type siftCounts struct {
	filtered   [filterReasons]uint64
	clamped    [clampReasons]uint64
	unweighted uint64 // kept records that another one counts for
}

// sift makes decoded flow records fit for the contact table: it drops those
// that are no contact of two hosts, corrects times that cannot be, cuts IPv6
// addresses to hosts and finds each record's slice.
type sift struct {
	sliceMS      int64
	keepLoopback bool
	ignore       []netip.Prefix
	countAll     bool // egress records have weight too
	cut          func(flow.Addr) flow.Addr
	counts       siftCounts

	slice        flow.Slice // the slice last found, and its bounds
	fromMS, toMS int64
}

// run moves the records that are kept to the front of records and returns
// them. It appends the slice of each one's end to slices, and moves the ends
// of the exporters' runs in records.
func (s *sift) run(records []flow.Record, runs []run, slices []flow.Slice, nowMS int64) ([]flow.Record, []flow.Slice) {
	n, at := 0, 0
	for i := range runs {
		end := runs[i].end
		n, slices = s.one(records, n, at, end, slices, nowMS)
		at, runs[i].end = end, n
	}
	return records[:n], slices
}

// one sifts the records [at, end) to the place behind the first n.
func (s *sift) one(records []flow.Record, n, at, end int, slices []flow.Slice, nowMS int64) (int, []flow.Slice) {
	for i := at; i < end; i++ {
		r := &records[i]
		if why := s.filter(r); why != keep {
			s.counts.filtered[why]++
			continue
		}
		s.clamp(r, nowMS)
		if r.Direction == flow.Egress {
			if s.countAll {
				r.Direction = flow.DirectionUnknown
			} else {
				s.counts.unweighted++
			}
		}
		slices = append(slices, s.sliceOf(r.EndMS))
		if n != i {
			records[n] = *r
		}
		n++
	}
	return n, slices
}

func (s *sift) filter(r *flow.Record) filterReason {
	// Nearly all records are of two IPv4 addresses that one byte each tells to
	// be hosts.
	ordinary := r.Src.Is4() && r.Dst.Is4() && classes4[r.Src[12]]|classes4[r.Dst[12]] == keep
	if !ordinary || len(s.ignore) > 0 {
		if src, dst := s.class(&r.Src), s.class(&r.Dst); src|dst != keep {
			return max(src, dst)
		}
	}
	if r.Src == r.Dst {
		return filterSameHost
	}
	return keep
}

// classes4 are the classes of IPv4 addresses that the first byte decides;
// 169 and 255 need a second look.
var classes4 = func() (t [256]filterReason) {
	t[0], t[127], t[169], t[255] = filterUnspecified, filterLoopback, filterLinkLocal, filterBroadcast
	for i := 224; i < 240; i++ {
		t[i] = filterMulticast
	}
	return t
}()

// class returns why a cannot be a host of the graph, and cuts it to one if it
// can.
func (s *sift) class(a *flow.Addr) filterReason {
	var c filterReason
	if a.Is4() {
		if c = classes4[a[12]]; c != keep {
			c = class4(a, c)
		}
	} else {
		c = class6(a)
		*a = s.cut(*a)
	}
	if c == filterLoopback && s.keepLoopback {
		c = keep
	}
	if c == keep && len(s.ignore) > 0 && s.ignored(a) {
		return filterIgnored
	}
	return c
}

func class4(a *flow.Addr, c filterReason) filterReason {
	switch {
	case c == filterLinkLocal && a[13] != 254,
		c == filterBroadcast && a[13]&a[14]&a[15] != 255:
		return keep
	}
	return c
}

func class6(a *flow.Addr) filterReason {
	switch {
	case a[0] == 0xff:
		return filterMulticast
	case a[0] == 0xfe && a[1]&0xc0 == 0x80:
		return filterLinkLocal
	case *a == flow.Addr{}:
		return filterUnspecified
	case *a == flow.Addr{15: 1}:
		return filterLoopback
	}
	return keep
}

func (s *sift) ignored(a *flow.Addr) bool {
	addr := a.NetIP()
	for _, p := range s.ignore {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// clamp corrects times that no exporter can mean, so that one wrong clock
// reaches neither a slice long past nor one to come.
func (s *sift) clamp(r *flow.Record, nowMS int64) {
	past, future := nowMS-maxPast.Milliseconds(), nowMS+maxFuture.Milliseconds()
	if r.EndMS < past {
		s.counts.clamped[clampEndPast]++
		r.EndMS = nowMS
	} else if r.EndMS > future {
		s.counts.clamped[clampEndFuture]++
		r.EndMS = nowMS
	}
	if r.StartMS < past || r.StartMS > r.EndMS {
		s.counts.clamped[clampStart]++
		r.StartMS = r.EndMS
	}
}

// sliceOf is flow.SliceOf without a division for times of the slice before.
func (s *sift) sliceOf(ms int64) flow.Slice {
	if ms < s.fromMS || ms >= s.toMS {
		s.slice = flow.SliceOf(ms, s.sliceMS)
		s.fromMS = int64(s.slice) * s.sliceMS
		s.toMS = s.fromMS + s.sliceMS
	}
	return s.slice
}

// endedBy returns the newest slice that is over at a time, grace included; ok
// is false before the end of slice 0.
func endedBy(nowMS, graceMS, sliceMS int64) (ended flow.Slice, ok bool) {
	s := flow.SliceOf(nowMS-graceMS, sliceMS)
	if s == 0 || s == math.MaxUint32 {
		return 0, false
	}
	return s - 1, true
}
