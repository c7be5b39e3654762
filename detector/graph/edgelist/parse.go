package edgelist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// maxLine bounds a line. Longer ones are an error even with SkipBad: such a
// file is not an edge list.
const maxLine = 64 << 10

// eachLine calls f for each line that is not empty or a comment, and puts
// name and line number before its error.
func eachLine(r io.Reader, name string, progress func(int64), s *Stats, f func(line []byte) error) error {
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		s.Bytes += int64(n)
		if progress != nil && n > 0 {
			progress(s.Bytes)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", name, s.Lines+1, err)
		}
		atEnd := err != nil
		rest, err := eachIn(buf, atEnd, s, f)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, s.Lines, err)
		}
		if atEnd {
			return nil
		}
		if len(rest) > maxLine {
			return fmt.Errorf("%s:%d: line of more than %d bytes", name, s.Lines+1, maxLine)
		}
		buf = buf[:copy(buf, rest)]
	}
}

// eachIn takes the whole lines off buf, and at the end of the file also an
// unfinished one, and returns the rest.
func eachIn(buf []byte, atEnd bool, s *Stats, f func(line []byte) error) (rest []byte, err error) {
	for len(buf) > 0 {
		end := bytes.IndexByte(buf, '\n')
		next := end + 1
		if end < 0 {
			if !atEnd {
				return buf, nil
			}
			end, next = len(buf), len(buf)
		}
		line := buf[:end]
		buf = buf[next:]
		s.Lines++
		if len(line) > maxLine {
			return nil, fmt.Errorf("line of more than %d bytes", maxLine)
		}
		if line = trimBlanks(line); len(line) == 0 || line[0] == '#' || line[0] == '%' {
			continue
		}
		if err := f(line); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// parseLink reads "src dst [weight]"; the weight must be a number and is not
// used.
func parseLink(line []byte) (src, dst uint64, err error) {
	src, rest, err := parseID(line, "source id")
	if err != nil {
		return 0, 0, err
	}
	if rest, err = skipSeparator(rest); err != nil {
		return 0, 0, err
	}
	if len(rest) == 0 {
		return 0, 0, fmt.Errorf("destination id is missing in %q", clip(line))
	}
	if dst, rest, err = parseID(rest, "destination id"); err != nil {
		return 0, 0, err
	}
	if rest, err = skipSeparator(rest); err != nil || len(rest) == 0 {
		return src, dst, err
	}
	if !isNumber(rest) {
		return 0, 0, fmt.Errorf("weight %q: not a number", clip(rest))
	}
	return src, dst, nil
}

// parseID reads the decimal digits that b begins with.
func parseID(b []byte, what string) (id uint64, rest []byte, err error) {
	i := 0
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		d := uint64(b[i] - '0')
		if id > (math.MaxUint64-d)/10 {
			return 0, nil, fmt.Errorf("%s %q: more than 2^64-1", what, clip(field(b)))
		}
		id = 10*id + d
	}
	if i == 0 || i < len(b) && !isSeparator(b[i]) {
		return 0, nil, fmt.Errorf("%s %q: not an unsigned decimal number", what, clip(field(b)))
	}
	return id, b[i:], nil
}

// skipSeparator skips blanks with at most one comma among them.
func skipSeparator(b []byte) ([]byte, error) {
	commas := 0
	for len(b) > 0 && isSeparator(b[0]) {
		if b[0] == ',' {
			if commas++; commas > 1 {
				return nil, errors.New("a field between two commas is empty")
			}
		}
		b = b[1:]
	}
	if commas > 0 && len(b) == 0 {
		return nil, errors.New("nothing follows the last comma")
	}
	return b, nil
}

func isSeparator(c byte) bool { return c == ' ' || c == '\t' || c == ',' || c == '\r' }

// isNumber tells whether b is a decimal number; most weights are plain digits.
func isNumber(b []byte) bool {
	plain := len(b) <= 18
	for _, c := range b {
		plain = plain && c-'0' <= 9
	}
	if plain {
		return true
	}
	_, err := strconv.ParseFloat(string(b), 64)
	return err == nil
}

// trimBlanks cuts blanks, tabs and carriage returns off both ends.
func trimBlanks(b []byte) []byte {
	blank := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// field returns b up to its first separator, or all of it if that is first.
func field(b []byte) []byte {
	if i := bytes.IndexFunc(b, func(r rune) bool { return r < 128 && isSeparator(byte(r)) }); i > 0 {
		return b[:i]
	}
	return b
}

// clip shortens text of a file that goes into an error.
func clip(b []byte) []byte {
	const most = 40
	if len(b) <= most {
		return b
	}
	return append(append([]byte{}, b[:most]...), "…"...)
}
