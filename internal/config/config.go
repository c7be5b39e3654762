// Package config loads one strict YAML file into a struct that already holds
// the defaults, and writes that struct back for people to read. A key that no
// field has, a value of the wrong type, a value that Validate refuses: each is
// an error with file, line, column and the source line, because a silently
// ignored line of configuration is found at 3 a.m.
//
// The structs belong to the components. A field takes part when it has a yaml
// tag; the comment above it (or a doc tag) documents it; an env tag names the
// environment variable that overrides it. Scalars are Go's basic kinds,
// [time.Duration] and whatever implements [encoding.TextUnmarshaler]. Lists
// and maps in the file replace the default, structs are merged over it.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFileSize bounds the configuration file, in bytes: a file larger than
// this is something else given by mistake.
const MaxFileSize = 1 << 20

// Validator is what a configuration struct implements to refuse values. The
// error is shown at the key that it starts with, if it starts with one:
// `window: 10m0s, want a multiple of the slice`.
type Validator interface{ Validate() error }

// Load merges the file at path, then the environment that lookup shows
// ([os.LookupEnv]; nil: none), over the defaults in into, a pointer to a
// struct, and validates the result from the leaves up. An empty path skips the
// file. Errors are [*Error] where a place in the file is to blame, and all of
// them are joined as far as they are independent.
func Load(path string, into any, lookup func(string) (string, bool)) error {
	w := &walker{places: map[string]*ast.MappingValueNode{}}
	if path != "" {
		data, err := read(path)
		if err != nil {
			return err
		}
		if err := w.parse(path, data, into); err != nil {
			return err
		}
	}
	if lookup != nil {
		if err := environment(into, lookup); err != nil {
			return err
		}
	}
	return w.validate("", reflect.ValueOf(into).Elem())
}

// Parse is [Load] for data in memory, called name in errors, without an
// environment.
func Parse(name string, data []byte, into any) error {
	w := &walker{places: map[string]*ast.MappingValueNode{}}
	if err := w.parse(name, data, into); err != nil {
		return err
	}
	return w.validate("", reflect.ValueOf(into).Elem())
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if info.IsDir() || info.Size() > MaxFileSize {
		return nil, fmt.Errorf("configuration %s: not a file of at most %d bytes", path, MaxFileSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return data, nil
}

// parse reads data into the struct that into points to.
func (w *walker) parse(name string, data []byte, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("BUG: configuration into %T, want a pointer to a struct", into))
	}
	w.file, w.lines = name, strings.Split(string(data), "\n")
	if len(data) > MaxFileSize {
		return fmt.Errorf("configuration %s: %d bytes, want at most %d", name, len(data), MaxFileSize)
	}
	file, err := w.parseYAML(data)
	if err != nil {
		return err
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			return w.fail(doc.Body, "a second document, want one")
		}
		body = doc.Body
	}
	if body == nil {
		return nil
	}
	w.node("", body, v.Elem())
	return errors.Join(w.errs...)
}

// parseYAML turns the parser's errors into ours. The parser has been seen to
// panic on malformed input, which must not take a reload down with it.
func (w *walker) parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{File: w.file, Line: 1, Column: 1, Message: "not YAML that can be read", Source: w.source(1)}
		}
	}()
	file, err = parser.ParseBytes(data, 0)
	if err != nil {
		return nil, w.syntax(err)
	}
	return file, nil
}

// validate calls Validate of every struct inside v, innermost first, and
// stops climbing where one fails: the outer check would repeat its complaint.
func (w *walker) validate(path string, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	var errs []error
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			errs = append(errs, w.validate(join(path, f.name), v.FieldByIndex(f.index)))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			errs = append(errs, w.validate(fmt.Sprintf("%s[%d]", path, i), v.Index(i)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	val, ok := v.Interface().(Validator)
	if !ok && v.CanAddr() {
		val, ok = v.Addr().Interface().(Validator)
	}
	if !ok {
		return nil
	}
	if err := val.Validate(); err != nil {
		return w.blame(path, err)
	}
	return nil
}

// blame gives err of the struct at path a place in the file: the key that the
// message starts with, else the struct's own key, else none.
func (w *walker) blame(path string, err error) error {
	key := err.Error()
	if i := strings.IndexFunc(key, func(r rune) bool { return !isPathRune(r) }); i >= 0 {
		key = key[:i]
	}
	for _, p := range []string{join(path, strings.TrimSuffix(key, ".")), path} {
		if n := w.places[p]; n != nil {
			t := n.Key.GetToken()
			return &Error{File: w.file, Line: t.Position.Line, Column: t.Position.Column,
				Message: message(path, err), Source: w.source(t.Position.Line), Cause: err}
		}
	}
	return fmt.Errorf("configuration: %s%w", prefix(path), err)
}

func isPathRune(r rune) bool {
	return r == '_' || r == '.' || r == '[' || r == ']' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
}

func message(path string, err error) string { return prefix(path) + err.Error() }

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
