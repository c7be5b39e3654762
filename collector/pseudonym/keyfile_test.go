package pseudonym

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

func createKeys(t *testing.T) (*KeyFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	f, err := CreateKeyFile(path, DefaultRealm, DefaultIPv6Prefix)
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

func TestKeyFileRoundTrip(t *testing.T) {
	f, path := createKeys(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	g, err := f.Rotate()
	if err != nil || g != 2 {
		t.Fatalf("Rotate: generation %d, %v, want 2", g, err)
	}
	read, err := ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("192.0.2.77")
	for _, g := range []flow.Generation{1, 2} {
		p, err := f.Permuter(g)
		if err != nil {
			t.Fatal(err)
		}
		s := p.Host(flow.AddrFrom(addr)).Pseudonym
		if got, err := read.Reveal(s, g); err != nil || got != addr {
			t.Errorf("generation %d read back: reveals %v, %v, want %v", g, got, err, addr)
		}
		if _, err := read.Reveal(s, 3-g); !errors.Is(err, ErrWrongKey) {
			t.Errorf("pseudonym of generation %d under %d: %v, want ErrWrongKey", g, 3-g, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".flowhound*")); left != nil {
		t.Errorf("temporary files left: %q", left)
	}
}

func TestEraseMakesAGenerationIrreversible(t *testing.T) {
	f, path := createKeys(t)
	p, err := f.Permuter(1)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Host(flow.AddrFrom(netip.MustParseAddr("192.0.2.1"))).Pseudonym
	if err := f.Erase(1); err == nil {
		t.Fatal("the newest generation was erased")
	}
	if _, err := f.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := f.Erase(1); err != nil {
		t.Fatal(err)
	}
	read, err := ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.Reveal(s, 1); !errors.Is(err, ErrNoGeneration) {
		t.Errorf("reveal after Erase: %v, want ErrNoGeneration", err)
	}
	if g, err := read.Rotate(); err != nil || g != 3 {
		t.Errorf("Rotate after Erase: generation %d, %v, want 3", g, err)
	}
}

func TestCreateKeyFileNeverOverwrites(t *testing.T) {
	_, path := createKeys(t)
	before, _ := os.ReadFile(path)
	if _, err := CreateKeyFile(path, DefaultRealm, 64); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second CreateKeyFile: %v, want ErrExist", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the key file changed")
	}
	if _, err := ReadKeyFile(path + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want ErrNotExist", err)
	}
}

func TestReadKeyFileRefuses(t *testing.T) {
	f := func(want string, spoil func(path string) error) {
		t.Helper()
		_, path := createKeys(t)
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeyFile(path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %q", err, want)
		}
	}
	f("mode 0640", func(p string) error { return os.Chmod(p, 0o640) })
	f("mode 0604", func(p string) error { return os.Chmod(p, 0o604) })
	f("symbolic link", func(p string) error {
		return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p))
	})
	f("not a regular file", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) })
	f("check line", func(p string) error { return os.Truncate(p, 200) })
	f("check line", func(p string) error { return os.Truncate(p, 0) })
	f("no such file", os.Remove)
	if os.Geteuid() == 0 {
		f("belongs to user 1234", func(p string) error { return os.Chown(p, 1234, -1) })
	}
}

// Every single-byte change of a key file is refused, as is every truncation.
func TestKeyFileIsChecked(t *testing.T) {
	keys, err := NewKeys(strings.NewReader(strings.Repeat("0123456789abcdef", 8)), "default", 64)
	if err != nil {
		t.Fatal(err)
	}
	text := keys.appendText(nil)
	if _, err := parseKeys(string(text)); err != nil {
		t.Fatal(err)
	}
	for i := range text {
		if _, err := parseKeys(string(text[:i])); err == nil {
			t.Errorf("truncated to %d bytes: no error", i)
		}
		bad := []byte(string(text))
		bad[i] ^= 1
		if _, err := parseKeys(string(bad)); err == nil {
			t.Errorf("bit 0 of byte %d flipped: no error", i)
		}
	}
}

func TestParseKeysNamesTheLine(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		_, err := parseKeys(body + "check: " + checkSum([]byte(body)) + "\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", body, err, want)
		}
	}
	secret := strings.Repeat("ab", 32)
	head := "version: 1\nrealm: r\nipv6_prefix: 64\nshard_secret: " + secret + "\n"
	f("version: 2\n", "line 1: version")
	f("version: 1\nprefix: 64\n", "line 2: want realm")
	f("version: 1\nrealm: r\nipv6_prefix: 20\n", "line 3: IPv6 prefix 20")
	f("version: 1\nrealm: r\nipv6_prefix: 64\nshard_secret: abcd\n", "line 4: want 64 hex digits")
	f(head, "no generation")
	f(head+"generation_0: "+secret+"\n", "line 5: want generation_1")
	f(head+"generation_2: "+secret+"\ngeneration_2: "+secret+"\n", "line 6: generation 2 after 2")
}

func FuzzParseKeys(f *testing.F) {
	f.Add("version: 1\nrealm: r\n")
	f.Fuzz(func(t *testing.T, body string) {
		k, err := parseKeys(body + "check: " + checkSum([]byte(body)) + "\n")
		if err != nil {
			return
		}
		again, err := parseKeys(string(k.appendText(nil)))
		if err != nil || again.Newest() != k.Newest() || again.realm != k.realm {
			t.Fatalf("%q: written and read again: %v", body, err)
		}
	})
}
