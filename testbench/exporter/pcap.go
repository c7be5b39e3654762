package exporter

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"github.com/flowhound/flowhound/internal/flow"
)

// Pcap writes a capture file of Ethernet frames with times in microseconds
// (libpcap's classic format, version 2.4).
type Pcap struct{ w *bufio.Writer }

// NewPcap writes the file's header to w.
func NewPcap(w io.Writer) (*Pcap, error) {
	p := &Pcap{bufio.NewWriterSize(w, 1<<16)}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone and accuracy
	b = binary.LittleEndian.AppendUint32(b, 65_535)
	b = binary.LittleEndian.AppendUint32(b, 1) // Ethernet
	if _, err := p.w.Write(b); err != nil {
		return nil, fmt.Errorf("pcap: header: %w", err)
	}
	return p, nil
}

// Frame writes one frame, of which original bytes were on the wire.
func (p *Pcap) Frame(unixUS int64, frame []byte, original int) error {
	var head [16]byte
	binary.LittleEndian.PutUint32(head[0:], uint32(unixUS/1_000_000))
	binary.LittleEndian.PutUint32(head[4:], uint32(unixUS%1_000_000))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(head[12:], uint32(original))
	if _, err := p.w.Write(head[:]); err != nil {
		return fmt.Errorf("pcap: frame: %w", err)
	}
	if _, err := p.w.Write(frame); err != nil {
		return fmt.Errorf("pcap: frame: %w", err)
	}
	return nil
}

// Close writes what is buffered; the underlying writer stays open.
func (p *Pcap) Close() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("pcap: flush: %w", err)
	}
	return nil
}

// Traffic counts the frames of [WriteTraffic].
type Traffic struct{ Records, Packets, Bytes uint64 } // bytes of IP packets

// WriteTraffic writes the packets of flow records as a capture file that a
// real exporter can meter, and returns what the meter must find. A record
// becomes min(its packets, most) packets, headers only, with 1 µs between
// them, at the record's end: in the order of the records, and far within any
// active timeout. A meter that knows flows in one direction finds one flow a
// record if all five-tuples differ.
func WriteTraffic(w io.Writer, records iter.Seq[flow.Record], most int) (Traffic, error) {
	p, err := NewPcap(w)
	if err != nil {
		return Traffic{}, err
	}
	var t Traffic
	var frame []byte
	clock := int64(0)
	for r := range records {
		t.Records++
		length := int(min(r.Bytes/max(r.Packets, 1), 1500))
		clock = max(clock, r.EndMS*1000)
		flags, packets := r.TCPFlags, max(1, min(r.Packets, uint64(most)))
		for i := range packets {
			r.TCPFlags = flagsOf(flags, i, packets)
			frame = appendFrame(frame[:0], &r, length)
			length = max(length, len(frame)-ethernetLength)
			if err := p.Frame(clock, frame, ethernetLength+length); err != nil {
				return t, err
			}
			clock++
			t.Packets++
			t.Bytes += uint64(length)
		}
	}
	return t, p.Close()
}

// flagsOf returns the TCP flags of the i-th of n packets, which all together
// show flags: the connection begins with the first and ends with the last.
func flagsOf(flags uint8, i, n uint64) uint8 {
	if i > 0 {
		flags &^= flow.TCPSyn
	}
	if i < n-1 {
		flags &^= flow.TCPFin | flow.TCPPsh
	}
	return flags
}
