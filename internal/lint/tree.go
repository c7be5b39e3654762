// Package lint checks the tree of the repository: who imports whom, which
// packages are pure, comments, metric names, formatting, file sizes and links.
// Its checks are functions of a file system, so that the tests can show each
// of them a tree that breaks it; the test of the real tree is part of
// `make test`. Other habits are left to go vet and staticcheck.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the repository's module.
const Module = "github.com/flowhound/flowhound"

// Tree is the repository as the checks see it.
type Tree struct {
	FS       fs.FS
	Files    []string   // every file, but for what git ignores
	Packages []*Package // sorted by Dir; those of nested modules are left out
	fset     *token.FileSet
}

// Package is the Go files of one directory, whatever build tags they have.
type Package struct {
	Dir   string // relative to the root: "collector/decode"
	Files []*File
}

// File is one Go file.
type File struct {
	Path   string
	Source []byte
	AST    *ast.File
	Test   bool
}

// ignored are the directories that are not part of the source: built things
// and git's own, which is a file in a worktree.
var ignored = []string{".git", "bin", "node_modules"}

// Load reads the tree in fsys. A Go file that does not parse is an error.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{FS: fsys, fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(ignored, d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			t.Files = append(t.Files, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	byDir := map[string]*Package{}
	for _, p := range t.Files {
		if !strings.HasSuffix(p, ".go") || t.foreign(path.Dir(p)) {
			continue
		}
		f, err := t.parse(p)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(p)
		if byDir[dir] == nil {
			byDir[dir] = &Package{Dir: dir}
			t.Packages = append(t.Packages, byDir[dir])
		}
		byDir[dir].Files = append(byDir[dir].Files, f)
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, nil
}

// foreign reports whether dir belongs to no package of our module: test data
// or a module of its own.
func (t *Tree) foreign(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if path.Base(dir) == "testdata" || slices.Contains(t.Files, path.Join(dir, "go.mod")) {
			return true
		}
	}
	return false
}

func (t *Tree) parse(p string) (*File, error) {
	source, err := fs.ReadFile(t.FS, p)
	if err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(t.fset, p, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	return &File{Path: p, Source: source, AST: f, Test: strings.HasSuffix(p, "_test.go")}, nil
}

// at returns `file:line` of a node.
func (t *Tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// code returns the files that are not tests.
func (p *Package) code() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// imports returns the import paths of the package's code, sorted.
func (p *Package) imports() []string {
	var list []string
	for _, f := range p.code() {
		for _, s := range f.AST.Imports {
			if i, err := strconv.Unquote(s.Path.Value); err == nil {
				list = append(list, i)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
