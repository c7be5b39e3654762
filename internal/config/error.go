package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Error is a mistake at one place of a configuration file.
type Error struct {
	File         string
	Line, Column int    // from 1
	Message      string // what is wrong and what is wanted
	Source       string // the source line, without its end
	Cause        error  // what Validate returned, or nil
}

// Error returns `file:line:column: message` and, on two more lines, the
// source line with a caret under the column.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source == "" {
		return b.String()
	}
	gutter := fmt.Sprintf("%5d | ", e.Line)
	fmt.Fprintf(&b, "\n%s%s\n%s| ", gutter, e.Source, strings.Repeat(" ", len(gutter)-2))
	for i, r := range []rune(e.Source) {
		if i >= e.Column-1 {
			break
		}
		if r != '\t' { // a tab keeps its width, whatever the terminal makes of it
			r = ' '
		}
		b.WriteRune(r)
	}
	b.WriteByte('^')
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// at returns an [Error] at the place of n.
func (w *walker) at(n ast.Node, format string, args ...any) *Error {
	e := &Error{File: w.file, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)}
	// A mapping's own token is its first colon; its place is its first key.
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	e.Source = w.source(e.Line)
	return e
}

func (w *walker) fail(n ast.Node, format string, args ...any) error { return w.at(n, format, args...) }

// syntax translates an error of the YAML parser.
func (w *walker) syntax(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		return fmt.Errorf("configuration %s: %w", w.file, err)
	}
	p := at.GetToken().Position
	return &Error{File: w.file, Line: p.Line, Column: p.Column, Message: at.GetMessage(), Source: w.source(p.Line)}
}

// source returns line number n, from 1, at most 200 characters of it.
func (w *walker) source(n int) string {
	if n < 1 || n > len(w.lines) {
		return ""
	}
	line := []rune(strings.TrimSuffix(w.lines[n-1], "\r"))
	if len(line) > 200 {
		line = append(line[:199], '…')
	}
	return string(line)
}
