package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// scalar sets v from a scalar node. Numbers and texts are not converted into
// each other, but for a text field, which takes a number as it is written.
func scalar(n ast.Node, v reflect.Value) error {
	var text string
	quoted := false
	switch n := n.(type) {
	case *ast.StringNode:
		text, quoted = n.Value, n.Token != nil && n.Token.Indicator != 0
	case *ast.LiteralNode:
		text, quoted = n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
	case *ast.MappingValueNode, *ast.MappingNode:
		var ok bool
		if text, ok = unsplit(n); !ok {
			return fmt.Errorf("want %s, got keys and values; a text with a colon may need quotes", wanted(v.Type()))
		}
	default:
		return fmt.Errorf("want %s, got %s", wanted(v.Type()), kindOf(n))
	}
	if quoted && isNumeric(v) {
		return fmt.Errorf("want %s, got the text %q", wanted(v.Type()), text)
	}
	return setText(v, strings.TrimSpace(text))
}

// unsplit puts a plain text such as 2001:db8::2 together again, which the
// parser splits at its last colon in {from: [2001:db8::2]}: a colon without a
// space behind it separates nothing (YAML 1.2 §7.3.3).
func unsplit(n ast.Node) (string, bool) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 1 && (m.Start == nil || m.Start.Value != "{") {
		n = m.Values[0]
	}
	pair, ok := n.(*ast.MappingValueNode)
	if !ok {
		return "", false
	}
	key, colon, value := pair.Key.GetToken(), pair.Start, pair.Value.GetToken()
	if key == nil || colon == nil || value == nil || key.Indicator != 0 || value.Indicator != 0 ||
		value.Position.Line != colon.Position.Line || value.Position.Column != colon.Position.Column+1 {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

func isNumeric(v reflect.Value) bool {
	return v.Type() != durationType && !v.Addr().Type().Implements(textUnmarshalerType) && v.Kind() != reflect.String
}

// setText parses text into v, which is addressable and a scalar.
func setText(v reflect.Value, text string) error {
	bad := func() error { return fmt.Errorf("want %s, got %q", wanted(v.Type()), text) }
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			return bad()
		}
		v.SetInt(int64(d))
		return nil
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			if _, known := examples[v.Type()]; known {
				return bad()
			}
			return err
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return bad()
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil {
			return rangeOr(err, text, bad)
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(text, 0, v.Type().Bits())
		if err != nil {
			return rangeOr(err, text, bad)
		}
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return bad()
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("BUG: configuration scalar of type %s", v.Type()))
	}
	return nil
}

func rangeOr(err error, text string, bad func() error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is out of range", text)
	}
	return bad()
}

// examples says how values of well-known types are written.
var examples = map[reflect.Type]string{
	durationType:                      "a duration with its unit such as 30s, 5m or 24h",
	reflect.TypeFor[netip.Addr]():     "an IP address such as 192.0.2.1 or 2001:db8::1",
	reflect.TypeFor[netip.AddrPort](): "an address with a port such as 127.0.0.1:8470 or [::]:2055",
	reflect.TypeFor[netip.Prefix]():   "a prefix such as 192.0.2.0/24 or 2001:db8::/32",
}

// wanted says what values of type t look like.
func wanted(t reflect.Type) string {
	if s, ok := examples[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number ≥ 0"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a value"
}
