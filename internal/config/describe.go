package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Describe fills in the Doc of each field from the comments in the Go source
// below moduleRoot, the directory of go.mod of module. It is for generators
// and tests: an installed binary has no source.
func Describe(fields []Field, module, moduleRoot string) error {
	packages := map[string]comments{}
	for i := range fields {
		f := &fields[i]
		if f.Doc != "" {
			continue
		}
		rel, ok := strings.CutPrefix(f.owner.PkgPath(), module)
		if !ok {
			continue
		}
		docs, ok := packages[rel]
		if !ok {
			var err error
			if docs, err = readComments(filepath.Join(moduleRoot, rel)); err != nil {
				return fmt.Errorf("describe %s: %w", f.Path, err)
			}
			packages[rel] = docs
		}
		f.Doc = docs[f.owner.Name()+"."+f.name]
	}
	return nil
}

// Comments returns the fields' sentences by path, for [Dump].
func Comments(fields []Field) map[string]string {
	docs := make(map[string]string, len(fields))
	for _, f := range fields {
		docs[f.Path] = f.Doc
	}
	return docs
}

// comments maps `Type.Field` to the field's comment as running text.
type comments map[string]string

// readComments collects the field comments of all structs of the package in
// dir, its tests included so that the generator can be tested on its own.
func readComments(dir string) (comments, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	docs := comments{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				docs.add(spec.Name.Name, s)
			}
			return false
		})
	}
	return docs, nil
}

func (c comments) add(typeName string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		text = sentence(strings.Join(strings.Fields(text), " "))
		for _, name := range f.Names {
			c[typeName+"."+name.Name] = withoutName(text, name.Name)
		}
	}
}

// withoutName takes the Go name off a comment that starts with it, which means
// nothing to a reader of the file: "Slice is the length" is "The length".
func withoutName(text, name string) string {
	rest, ok := strings.CutPrefix(text, name+" ")
	if !ok {
		return text
	}
	for _, verb := range []string{"is ", "are "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// sentence gives a trailing comment, which Go writes without capital and
// period, the form of the others.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// Markdown writes docs/configuration.md: one table per section.
func Markdown(w io.Writer, fields []Field) error {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"FlowHound reads one strict YAML file; this page lists every key with its default, and is generated from the source by `make generate`.\n\n" +
		"```sh\nflowhound check flowhound.yaml   # validate, and print the merged result\n```\n\n" +
		"An unknown key or a wrong value is an error that shows file, line and column. Lists and maps replace the default, sections are merged over it. " +
		"Durations need a unit (`30s`, `5m`, `24h`). Environment variables override the file, flags override both.\n")
	for _, section := range sections(fields) {
		heading(&b, section, fields)
		for _, f := range fields {
			if f.Section || parent(f.Path) != section {
				continue
			}
			doc := f.Doc
			if f.Env != "" {
				doc += " Environment: `" + f.Env + "`."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Path, f.Type, code(f.Default), strings.ReplaceAll(doc, "|", `\|`))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sections returns the sections that have values of their own, in file order.
func sections(fields []Field) []string {
	var list []string
	for _, f := range fields {
		if p := parent(f.Path); !f.Section && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '.'))]
}

func heading(b *strings.Builder, section string, fields []Field) {
	title := "`" + section + "`"
	if section == "" {
		title = "Top level"
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, f := range fields {
		if f.Path == section && f.Section {
			fmt.Fprintf(b, "%s\n\n", f.Doc)
		}
	}
	b.WriteString("| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(s, "|", `\|`) + "`"
}
