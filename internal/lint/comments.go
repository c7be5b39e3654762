package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/token"
	"strings"
)

// Format checks that every Go file is what gofmt makes of it.
func Format(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		for _, f := range p.Files {
			want, err := format.Source(f.Source)
			if err != nil || !bytes.Equal(want, f.Source) {
				bad = append(bad, f.Path+": not gofmt-ed")
			}
		}
	}
	return bad
}

// PackageComments checks that each package has one comment, and that it begins
// with "Package x " or, for a program, "Command x ".
func PackageComments(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		var with []string
		for _, f := range p.Files {
			if f.AST.Doc == nil {
				continue
			}
			want := "Package " + f.AST.Name.Name + " "
			if f.AST.Name.Name == "main" {
				want = "Command " + p.Dir[strings.LastIndexByte(p.Dir, '/')+1:] + " "
			}
			if !strings.HasPrefix(f.AST.Doc.Text(), want) {
				bad = append(bad, fmt.Sprintf("%s: package comment does not begin with %q", f.Path, want))
			}
			with = append(with, f.Path)
		}
		switch {
		case len(with) == 0:
			bad = append(bad, p.Dir+": no package comment")
		case len(with) > 1:
			bad = append(bad, fmt.Sprintf("%s: %d package comments, in %s", p.Dir, len(with), strings.Join(with, ", ")))
		}
	}
	return bad
}

// Comments checks that every exported name outside of tests has a comment that
// ends a sentence.
func Comments(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		for _, f := range p.code() {
			for _, d := range f.AST.Decls {
				for name, doc := range exported(d) {
					if fault := docFault(doc); fault != "" {
						bad = append(bad, fmt.Sprintf("%s: %s %s", t.at(name), name.Name, fault))
					}
				}
			}
		}
	}
	return bad
}

func docFault(doc string) string {
	doc = strings.TrimSpace(doc)
	if doc == "" {
		return "has no comment"
	}
	// A comment may end in a diagram or an example: code lines are indented.
	last := doc[strings.LastIndexByte(doc, '\n')+1:]
	if strings.HasPrefix(last, "\t") || strings.HasPrefix(last, " ") || strings.HasSuffix(last, ".") || strings.HasSuffix(last, ":") {
		return ""
	}
	return "has a comment without a period"
}

// exported returns the exported names that d declares, with their comments. In
// a group, the group's comment or a trailing one will do.
func exported(d ast.Decl) map[*ast.Ident]string {
	names := map[*ast.Ident]string{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
			names[d.Name] = d.Doc.Text()
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					names[s.Name] = first(s.Doc.Text(), d.Doc.Text())
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Tok != token.IMPORT {
						names[n] = first(s.Doc.Text(), sentence(s.Comment.Text()), d.Doc.Text())
					}
				}
			}
		}
	}
	return names
}

func exportedReceiver(recv *ast.FieldList) bool {
	x := recv.List[0].Type
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// sentence lets a trailing comment go without its period.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.TrimSpace(s) + "."
}
