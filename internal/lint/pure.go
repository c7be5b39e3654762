package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// pure are the algorithm packages and codecs: values in, values out. What one
// may import beyond the pure list stands beside its name.
var pure = map[string][]string{
	"internal/flow":           nil,
	"internal/parallel":       nil,
	"internal/huge":           {"unsafe", "golang.org/x/sys/unix"}, // advice on pages changes no value
	"internal/prefetch":       {"unsafe"},                          // reads ahead, changes no value
	"collector/template/lru":  nil,
	"collector/template":      nil,
	"collector/decode/packet": nil,
	"collector/decode":        {"github.com/netsampler/goflow2/v2/decoders"},
	"collector/contact":       nil,
	"detector/graph":          {"unsafe"}, // size of its arrays, for the memory metric
	"detector/graph/edgelist": nil,
	"detector/rank":           nil,
	"detector/core":           nil,
	"detector/mutual":         nil,
	"detector/chain":          nil,
	"detector/cluster":        nil,
	"detector/snapshot":       nil,
	"detector/verdict":        nil,
	"federation/ring":         nil,
	"federation/wire":         {"google.golang.org/protobuf"},
	"testbench/botnet":        nil,
	"testbench/traffic":       nil,
	"testbench/roc":           nil,
}

// pureImports is what a pure package may import of the standard library:
// nothing that reaches the network, a file or the environment. sync and
// runtime are there for loops that share work among cores within one call.
var pureImports = []string{
	"bufio", "bytes", "cmp", "container/heap", "crypto/aes", "crypto/cipher", "crypto/sha256",
	"encoding/base32", "encoding/binary", "encoding/hex", "errors", "fmt", "hash", "hash/crc32", "hash/fnv", "hash/maphash",
	"io", "iter", "maps", "math", "math/bits", "math/cmplx", "math/rand/v2", "net/netip", "runtime", "slices", "sort",
	"strconv", "strings", "sync", "sync/atomic", "time", "unicode", "unicode/utf8",
}

// impureFuncs are the functions of those packages that read a clock, wait, or
// draw from a source that no seed controls.
var impureFuncs = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64", "Uint64N", "N", "Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle"},
}

// Pure checks that the pure packages import only pure ones and neither read
// the clock nor use the global random source.
func Pure(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		extra, ok := pure[p.Dir]
		if !ok {
			continue
		}
		for _, i := range p.imports() {
			if !pureImport(i, extra) {
				bad = append(bad, fmt.Sprintf("%s is pure but imports %s", p.Dir, i))
			}
		}
		for _, f := range p.code() {
			bad = append(bad, t.impureCalls(f)...)
		}
	}
	return bad
}

func pureImport(i string, extra []string) bool {
	if own, ok := strings.CutPrefix(i, Module+"/"); ok {
		_, ok := pure[own]
		return ok
	}
	return slices.Contains(pureImports, i) || slices.ContainsFunc(extra, func(e string) bool { return strings.HasPrefix(i, e) })
}

// impureCalls finds uses of impureFuncs in f, under whatever name the package
// was imported.
func (t *Tree) impureCalls(f *File) []string {
	names := map[string]string{}
	for _, s := range f.AST.Imports {
		i, _ := strconv.Unquote(s.Path.Value)
		switch {
		case impureFuncs[i] == nil:
		case s.Name != nil:
			names[s.Name.Name] = i
		case i == "math/rand/v2":
			names["rand"] = i
		default:
			names[i] = i
		}
	}
	var bad []string
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(impureFuncs[names[x.Name]], sel.Sel.Name) {
			bad = append(bad, fmt.Sprintf("%s: pure package uses %s.%s", t.at(sel), x.Name, sel.Sel.Name))
		}
		return true
	})
	return bad
}
