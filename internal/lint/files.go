package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// MaxFileSize bounds every file of the tree, in bytes: captures and large data
// belong elsewhere.
const MaxFileSize = 1 << 20

// machinePath finds absolute paths that exist on one machine only.
var machinePath = regexp.MustCompile("(?:^|[\\s\"'=(:`])/(?:work|root|home/[a-z][a-z0-9_-]*|Users/[A-Za-z]+)/[A-Za-z0-9_.-]")

// Files checks that no file is large and none names a path of somebody's
// machine.
func Files(t *Tree) []string {
	var bad []string
	for _, p := range t.Files {
		info, err := fs.Stat(t.FS, p)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		if info.Size() > MaxFileSize {
			bad = append(bad, fmt.Sprintf("%s: %d bytes, want at most %d", p, info.Size(), MaxFileSize))
			continue
		}
		data, err := fs.ReadFile(t.FS, p)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		if bytes.IndexByte(data, 0) >= 0 {
			continue // binary
		}
		for i, line := range strings.Split(string(data), "\n") {
			if m := machinePath.FindString(line); m != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: path of one machine: %s…", p, i+1, strings.TrimSpace(m)))
			}
		}
	}
	return bad
}

// markdownLink finds inline links and images of Markdown; a code span or block
// is cut out before.
var (
	markdownLink = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	codeBlock    = regexp.MustCompile("(?ms)^```.*?^```[ \t]*$")
	codeSpan     = regexp.MustCompile("`[^`\n]*`")
	heading      = regexp.MustCompile(`(?m)^#{1,6}\s+(.*?)\s*#*\s*$`)
)

// Links checks that every relative link in a Markdown file leads to a file of
// the tree and, where it has a fragment, to a heading there.
func Links(t *Tree) []string {
	var bad []string
	for _, p := range t.Files {
		if !strings.HasSuffix(p, ".md") {
			continue
		}
		text, err := fs.ReadFile(t.FS, p)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		prose := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(string(text), ""), "")
		for _, m := range markdownLink.FindAllStringSubmatch(prose, -1) {
			if fault := t.linkFault(p, m[1]); fault != "" {
				bad = append(bad, fmt.Sprintf("%s: link %s: %s", p, m[1], fault))
			}
		}
	}
	return bad
}

func (t *Tree) linkFault(from, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return "not a link"
	}
	if u.Scheme != "" || u.Host != "" {
		return "" // the outside world is not ours to check
	}
	target := from
	if u.Path != "" {
		target = path.Join(path.Dir(from), u.Path)
	}
	if strings.HasPrefix(target, "../") {
		return "leads out of the repository"
	}
	if _, err := fs.Stat(t.FS, target); err != nil {
		return "no such file"
	}
	if u.Fragment == "" || !strings.HasSuffix(target, ".md") {
		return ""
	}
	text, err := fs.ReadFile(t.FS, target)
	if err != nil || !slices.Contains(anchors(string(text)), u.Fragment) {
		return "no such heading"
	}
	return ""
}

// anchors returns the fragments of a Markdown file's headings, made as GitHub
// makes them: lower case, spaces to hyphens, punctuation dropped.
func anchors(text string) []string {
	var list []string
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return list
}
