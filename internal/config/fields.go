package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// field is one field of a struct that takes part, those of inlined structs
// included.
type field struct {
	name  string // key in the file
	index []int  // for reflect.Value.FieldByIndex
	field reflect.StructField
	owner reflect.Type // the struct that declares it
}

// fieldsOf returns the fields of struct type t in declaration order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("yaml")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case !f.IsExported() || !tagged || name == "-":
			continue
		case strings.Contains(options, "inline"):
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				fields = append(fields, in)
			}
			continue
		case name == "":
			name = strings.ToLower(f.Name)
		}
		fields = append(fields, field{name: name, index: []int{i}, field: f, owner: t})
	}
	return fields
}

func find(fields []field, key string) (field, bool) {
	for _, f := range fields {
		if f.name == key {
			return f, true
		}
	}
	return field{}, false
}

// Field describes one value of a configuration.
type Field struct {
	Path    string // as in the file: `collector.flush`
	Type    string // in words: `duration`, `list of prefixes`
	Default string // as in the file; empty for a section
	Env     string // environment variable that overrides it, or empty
	Doc     string // sentences; empty until [Describe] or a doc tag gives them
	Section bool   // a struct: its fields follow

	owner reflect.Type
	name  string // the Go field's name
}

// Fields lists every field of a configuration struct (or a pointer to one) in
// file order, sections before their fields, with the values it holds as
// defaults. The elements of lists of structs follow under `path[]`.
func Fields(root any) []Field {
	v := reflect.ValueOf(root)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return appendFields(nil, "", v)
}

func appendFields(list []Field, path string, v reflect.Value) []Field {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if fv.Kind() == reflect.Pointer && !isScalar(fv.Type().Elem()) {
			if fv.IsNil() {
				fv = reflect.New(fv.Type().Elem())
			}
			fv = fv.Elem()
		}
		d := Field{
			Path: join(path, f.name), Type: typeName(fv.Type()), Env: f.field.Tag.Get("env"),
			Doc: f.field.Tag.Get("doc"), owner: f.owner, name: f.field.Name,
		}
		section := fv.Kind() == reflect.Struct && !isScalar(fv.Type())
		if d.Section = section; !section {
			d.Default = inline(fv)
		}
		list = append(list, d)
		switch {
		case section:
			list = appendFields(list, d.Path, fv)
		case fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct && !isScalar(fv.Type().Elem()):
			list = appendFields(list, d.Path+"[]", reflect.New(fv.Type().Elem()).Elem())
		}
	}
	return list
}

// typeName says in words what the file holds for type t.
func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case strings.HasPrefix(t.PkgPath(), "net/netip"):
		return map[string]string{"Addr": "address", "AddrPort": "address with port", "Prefix": "prefix"}[t.Name()]
	case isScalar(t) && t.PkgPath() != "":
		return strings.ToLower(t.Name())
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem()))
	case reflect.Map:
		return "map of " + plural(typeName(t.Elem()))
	case reflect.Struct:
		return "section"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

func plural(word string) string {
	switch word {
	case "address", "prefix":
		return word + "es"
	case "address with port":
		return "addresses with port"
	}
	return word + "s"
}

// Check returns what is wrong with a configuration's declaration: exported
// fields without a yaml tag, and fields that docs (from [Describe]) leaves
// without a sentence that ends with a period.
func Check(root any, fields []Field) []string {
	t := reflect.TypeOf(root)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	bad := untagged(t, map[reflect.Type]bool{})
	for _, f := range fields {
		switch {
		case f.Doc == "":
			bad = append(bad, fmt.Sprintf("%s (%s.%s): no comment", f.Path, f.owner, f.name))
		case !strings.HasSuffix(f.Doc, "."):
			bad = append(bad, fmt.Sprintf("%s (%s.%s): comment does not end with a period", f.Path, f.owner, f.name))
		}
	}
	return bad
}

func untagged(t reflect.Type, seen map[reflect.Type]bool) (bad []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || isScalar(t) || seen[t] {
		return nil
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, ok := f.Tag.Lookup("yaml"); f.IsExported() && !ok {
			bad = append(bad, fmt.Sprintf("%s.%s: no yaml tag", t, f.Name))
		} else if f.IsExported() && tag != "-" {
			bad = append(bad, untagged(f.Type, seen)...)
		}
	}
	return bad
}

// shortDuration prints 5m instead of 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
