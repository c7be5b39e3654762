package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// walker goes down a YAML tree and a Go value together.
type walker struct {
	file   string
	lines  []string
	errs   []error
	places map[string]*ast.MappingValueNode // key path → where the file sets it
}

var (
	durationType        = reflect.TypeFor[time.Duration]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar reports whether t is set from one scalar of the file.
func isScalar(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(textUnmarshalerType) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		return false
	}
	return true
}

// node sets v, at path, from n. What goes wrong is collected, so that one run
// shows every mistake of a file.
func (w *walker) node(path string, n ast.Node, v reflect.Value) {
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		w.errs = append(w.errs, w.fail(n, "%sanchors, aliases and tags are not supported", prefix(path)))
		return
	case *ast.NullNode:
		// A section whose every line is commented out keeps its defaults.
		return
	}
	if isScalar(v.Type()) {
		if err := scalar(n, v); err != nil {
			w.errs = append(w.errs, w.fail(n, "%s%v", prefix(path), err))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		w.node(path, n, v.Elem())
	case reflect.Struct:
		w.structure(path, n, v)
	case reflect.Slice:
		w.list(path, n, v)
	case reflect.Map:
		w.mapping(path, n, v)
	default:
		panic(fmt.Sprintf("BUG: configuration field %s has type %s", path, v.Type()))
	}
}

// pairs returns the keys and values of a mapping.
func (w *walker) pairs(path string, n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	w.errs = append(w.errs, w.fail(n, "%swant keys and values, got %s", prefix(path), kindOf(n)))
	return nil
}

func (w *walker) structure(path string, n ast.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	for _, pair := range w.pairs(path, n) {
		if _, ok := pair.Key.(*ast.MergeKeyNode); ok {
			w.errs = append(w.errs, w.fail(pair, "%smerge keys are not supported", prefix(path)))
			continue
		}
		key := keyText(pair)
		f, ok := find(fields, key)
		if !ok {
			w.errs = append(w.errs, w.fail(pair.Key, "%sunknown key %q%s", prefix(path), key, suggest(key, fields)))
			continue
		}
		at := join(path, key)
		w.places[at] = pair
		w.node(at, pair.Value, v.FieldByIndex(f.index))
	}
}

func (w *walker) list(path string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		w.errs = append(w.errs, w.fail(n, "%swant a list, got %s", prefix(path), kindOf(n)))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, e := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if e.Type() == ast.NullType {
			w.errs = append(w.errs, w.fail(e, "%s: empty", at))
			continue
		}
		w.node(at, e, out.Index(i))
	}
	v.Set(out)
}

func (w *walker) mapping(path string, n ast.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	for _, pair := range w.pairs(path, n) {
		at := join(path, keyText(pair))
		w.places[at] = pair
		key := reflect.New(v.Type().Key()).Elem()
		if err := scalar(pair.Key, key); err != nil {
			w.errs = append(w.errs, w.fail(pair.Key, "%s: %v", at, err))
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		w.node(at, pair.Value, elem)
		out.SetMapIndex(key, elem)
	}
	v.Set(out)
}

func keyText(pair *ast.MappingValueNode) string {
	if t := pair.Key.GetToken(); t != nil {
		return t.Value
	}
	return pair.Key.String()
}

// kindOf names what a node is, in the words of someone who writes YAML.
func kindOf(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "keys and values"
	case ast.SequenceType:
		return "a list"
	case ast.BoolType:
		return "a true or false"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return fmt.Sprintf("the number %s", n.GetToken().Value)
	case ast.StringType:
		return fmt.Sprintf("the text %q", n.GetToken().Value)
	}
	return strings.ToLower(n.Type().String())
}

// suggest names the known key nearest to a mistyped one, or all of them when
// they are few.
func suggest(key string, fields []field) string {
	best, bestD := "", 3 // more than two typing errors are another word
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
		if d := distance(key, f.name); d < bestD {
			best, bestD = f.name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(", did you mean %q?", best)
	case len(names) <= 12:
		return ", want one of " + strings.Join(names, ", ")
	}
	return ""
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
