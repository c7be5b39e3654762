package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Dump writes a configuration struct (or a pointer to one) as a file that
// [Load] reads back to the same values. docs gives each path its comment
// (see [Comments]); a doc tag stands in where it has none.
func Dump(w io.Writer, root any, docs map[string]string) error {
	v := reflect.ValueOf(root)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	d := &dumper{docs: docs}
	d.structure("", "", v)
	_, err := io.WriteString(w, d.b.String())
	return err
}

type dumper struct {
	b    strings.Builder
	docs map[string]string
}

func (d *dumper) structure(indent, path string, v reflect.Value) {
	for i, f := range fieldsOf(v.Type()) {
		at := join(path, f.name)
		doc := d.docs[at]
		if doc == "" {
			doc = f.field.Tag.Get("doc")
		}
		if indent == "" && i > 0 {
			d.b.WriteByte('\n')
		}
		for _, line := range wrap(doc, 76-len(indent)) {
			fmt.Fprintf(&d.b, "%s# %s\n", indent, line)
		}
		d.value(indent, at, f.name+":", v.FieldByIndex(f.index))
	}
}

// value writes `head value`, over several lines where v is not a scalar.
func (d *dumper) value(indent, path, head string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			fmt.Fprintf(&d.b, "%s%s null\n", indent, head)
			return
		}
		v = v.Elem()
	}
	switch {
	case isScalar(v.Type()) || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && flat(v):
		fmt.Fprintf(&d.b, "%s%s %s\n", indent, head, inline(v))
	case v.Kind() == reflect.Struct:
		fmt.Fprintf(&d.b, "%s%s\n", indent, head)
		d.structure(indent+"  ", path, v)
	case v.Kind() == reflect.Slice:
		fmt.Fprintf(&d.b, "%s%s\n", indent, head)
		for i := range v.Len() {
			item := &dumper{} // comments once per key, not per element
			item.structure(indent+"    ", path+"[]", v.Index(i))
			text := item.b.String()
			fmt.Fprintf(&d.b, "%s  - %s", indent, strings.TrimPrefix(text, indent+"    "))
		}
	case v.Kind() == reflect.Map:
		fmt.Fprintf(&d.b, "%s%s\n", indent, head)
		for _, k := range sortedKeys(v) {
			d.value(indent+"  ", join(path, k.String()), inline(k)+":", v.MapIndex(k))
		}
	}
}

// flat reports whether a list or map holds only scalars, or nothing.
func flat(v reflect.Value) bool { return v.Len() == 0 || isScalar(v.Type().Elem()) }

// inline returns v as flow-style YAML on one line.
func inline(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return shortDuration(time.Duration(v.Int()))
	case isScalar(v.Type()):
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			text, err := m.MarshalText()
			if err != nil {
				panic(fmt.Sprintf("BUG: configuration value of type %s: %v", v.Type(), err))
			}
			return quote(string(text))
		}
		if v.Kind() == reflect.String {
			return quote(v.String())
		}
		if v.Kind() == reflect.Float64 || v.Kind() == reflect.Float32 {
			return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
		}
		return fmt.Sprint(v.Interface())
	}
	var parts []string
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return inline(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, inline(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		for _, k := range sortedKeys(v) {
			parts = append(parts, inline(k)+": "+inline(v.MapIndex(k)))
		}
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			parts = append(parts, f.name+": "+inline(v.FieldByIndex(f.index)))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return inline(keys[i]) < inline(keys[j]) })
	return keys
}

// plainText is text that YAML reads back as the same text without quotes,
// inside a flow sequence too.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*$`)

// quote returns s as a YAML scalar.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return strconv.Quote(s)
	}
	if plainText.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// DumpJSON writes a configuration struct (or a pointer to one) as indented
// JSON with the keys of the file.
func DumpJSON(w io.Writer, root any) error {
	var text bytes.Buffer
	if err := Dump(&text, root, nil); err != nil {
		return err
	}
	var keys any
	if err := yaml.Unmarshal(text.Bytes(), &keys); err != nil {
		return fmt.Errorf("configuration as JSON: %w", err)
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(keys)
}
