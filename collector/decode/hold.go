package decode

import (
	"encoding/binary"
	"slices"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// hold keeps the data sets of one exporter that came before their template.
// No other collector does, and all lose what arrives until the template is
// repeated: minutes, on most routers.
//
// Sets lie one behind the other in blocks; the oldest block goes when there
// are too many. So holding costs no allocation per set, and one datagram
// never makes it allocate more than a block.
type hold struct {
	blocks  []*holdBlock // oldest first
	spare   *holdBlock
	waiting map[template.Key]int
	sets    int
}

type holdBlock struct {
	b        []byte
	live     int
	newestMS int64
}

// holdBlockSize is the size of a block; larger sets get their own.
const holdBlockSize = 32 << 10

// A held set is a header and the body of the set:
//
//	size 4 | uptime 4 | key 8 | export 8 | received 8 | origin 8 | body
//
// size counts header and body; key 0 marks a set that was decoded.
const (
	heldHeader = 40
	heldKey    = 8
)

// keep holds a set, or counts it as lost if that cannot be.
func (d *Decoder) keep(e *exporter, m *message, key template.Key, body []byte) {
	d.expireHeld(e, m.receivedMS)
	need := heldHeader + len(body)
	block := d.holdBlock(e, need)
	if block == nil {
		d.drop(e, NoTemplate, 1)
		return
	}
	le := binary.LittleEndian
	b := le.AppendUint32(block.b, uint32(need))
	b = le.AppendUint32(b, m.uptime)
	b = le.AppendUint64(b, uint64(key))
	b = le.AppendUint64(b, uint64(m.exportMS))
	b = le.AppendUint64(b, uint64(m.receivedMS))
	b = le.AppendUint64(b, uint64(d.origin))
	block.b = append(b, body...)
	block.live++
	block.newestMS = m.receivedMS
	if e.hold.waiting == nil {
		e.hold.waiting = make(map[template.Key]int)
	}
	e.hold.waiting[key]++
	e.hold.sets++
	e.waited++
	d.stats.HeldSets++
}

// holdBlock returns a block with room for need bytes, nil if the caps forbid.
func (d *Decoder) holdBlock(e *exporter, need int) *holdBlock {
	h := &e.hold
	if n := len(h.blocks); n > 0 {
		if last := h.blocks[n-1]; cap(last.b)-len(last.b) >= need {
			return last
		}
	}
	size := max(need, holdBlockSize)
	if size > d.cfg.HoldBytes {
		return nil
	}
	for len(h.blocks) > 0 && h.bytes()+size > d.cfg.HoldBytes {
		d.dropHeld(e, 1)
	}
	block := h.spare
	h.spare = nil
	if block == nil || cap(block.b) < size {
		if block != nil {
			d.heldBytes -= cap(block.b)
		}
		if d.heldBytes+size > max(MaxHeldBytes, d.cfg.HoldBytes) {
			return nil
		}
		block = &holdBlock{b: make([]byte, 0, size)}
		d.heldBytes += size
	}
	h.blocks = append(h.blocks, block)
	return block
}

func (h *hold) bytes() (n int) {
	for _, block := range h.blocks {
		n += cap(block.b)
	}
	return n
}

// expireHeld drops the blocks whose sets have all waited for too long.
func (d *Decoder) expireHeld(e *exporter, nowMS int64) {
	k := 0
	for k < len(e.hold.blocks) && nowMS-e.hold.blocks[k].newestMS > d.cfg.HoldMS {
		k++
	}
	d.dropHeld(e, k)
}

// dropHeld drops the k oldest blocks and counts their sets as lost.
func (d *Decoder) dropHeld(e *exporter, k int) {
	h := &e.hold
	for _, block := range h.blocks[:k] {
		d.drop(e, NoTemplate, block.live)
		d.stats.HeldSets -= uint64(block.live)
		h.sets -= block.live
		for b := block.b; len(b) > 0; b = b[binary.LittleEndian.Uint32(b):] {
			h.done(template.Key(binary.LittleEndian.Uint64(b[heldKey:])))
		}
		d.recycle(h, block)
	}
	h.blocks = slices.Delete(h.blocks, 0, k)
	d.trim(h)
}

// done takes one waiting set of a key off the list.
func (h *hold) done(key template.Key) {
	if key == 0 {
		return
	}
	if h.waiting[key]--; h.waiting[key] == 0 {
		delete(h.waiting, key)
	}
}

// recycle keeps an emptied block for the next need, or gives it back.
func (d *Decoder) recycle(h *hold, block *holdBlock) {
	if h.spare == nil {
		*block = holdBlock{b: block.b[:0]}
		h.spare = block
		return
	}
	d.heldBytes -= cap(block.b)
}

// trim gives the spare block back when nothing waits any more.
func (d *Decoder) trim(h *hold) {
	if len(h.blocks) == 0 && h.spare != nil {
		d.heldBytes -= cap(h.spare.b)
		h.spare = nil
	}
}

// release decodes the sets that waited for t.
func (d *Decoder) release(dst []flow.Record, e *exporter, now *message, t *template.Template) []flow.Record {
	d.expireHeld(e, now.receivedMS)
	h := &e.hold
	if h.waiting[t.Key] == 0 {
		return dst
	}
	le := binary.LittleEndian
	for _, block := range h.blocks {
		for b := block.b; len(b) > 0 && block.live > 0; {
			size := le.Uint32(b)
			held := b[:size]
			b = b[size:]
			if template.Key(le.Uint64(held[heldKey:])) != t.Key {
				continue
			}
			le.PutUint64(held[heldKey:], 0)
			block.live--
			h.sets--
			d.stats.HeldSets--
			h.done(t.Key)
			dst = d.decodeHeld(dst, e, now, t, held)
		}
	}
	h.blocks = slices.DeleteFunc(h.blocks, func(block *holdBlock) bool {
		empty := block.live == 0
		if empty {
			d.recycle(h, block)
		}
		return empty
	})
	d.trim(h)
	return dst
}

// decodeHeld decodes one held set with the times of its own message.
func (d *Decoder) decodeHeld(dst []flow.Record, e *exporter, now *message, t *template.Template, held []byte) []flow.Record {
	le := binary.LittleEndian
	m := message{
		version:    now.version,
		domain:     now.domain,
		uptime:     le.Uint32(held[4:]),
		exportMS:   int64(le.Uint64(held[16:])),
		receivedMS: int64(le.Uint64(held[24:])),
	}
	if now.receivedMS-m.receivedMS > d.cfg.HoldMS {
		d.drop(e, NoTemplate, 1)
		return dst
	}
	before, start := d.stats, len(dst)
	s := e.stream(streamKey{version: m.version, domain: m.domain})
	body := held[heldHeader:]
	// The slack behind a held set is the next one, or a copy's.
	if cap(body) < len(body)+slack {
		body = append(make([]byte, 0, len(body)+slack), body...)
	}
	dst = d.data(dst, e, s, &m, t, body[:len(body)+slack], len(body))
	if d.cfg.OnHeld != nil {
		after := d.stats
		after.Records += uint64(len(dst) - start)
		d.cfg.OnHeld(int(le.Uint64(held[32:])), &before, &after)
	}
	return dst
}

// Waiting calls f with the origin of each set that still waits for its
// template.
func (d *Decoder) Waiting(f func(origin int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exporters.All() {
		for _, block := range e.datagrams.hold.blocks {
			for b := block.b; len(b) > 0; b = b[binary.LittleEndian.Uint32(b):] {
				if binary.LittleEndian.Uint64(b[heldKey:]) != 0 {
					f(int(binary.LittleEndian.Uint64(b[32:])))
				}
			}
		}
	}
}
