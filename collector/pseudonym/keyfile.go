package pseudonym

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/flowhound/flowhound/internal/flow"
)

// maxKeyFile bounds what is read of a key file: 255 generations take 21 KB.
const maxKeyFile = 1 << 16

// KeyFile is the [Keys] of one realm in a file that only its owner can read.
// It is not safe for concurrent use.
type KeyFile struct {
	*Keys
	path string
}

// CreateKeyFile writes new keys with one generation to path, mode 0600, on
// disk when it returns. An existing file is never overwritten: the error then
// is [fs.ErrExist]. See [NewKeys] for realm and prefix.
func CreateKeyFile(path, realm string, prefix int) (*KeyFile, error) {
	keys, err := NewKeys(rand.Reader, realm, prefix)
	if err != nil {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	if err := writeKeys(path, keys, os.Link); err != nil {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	return &KeyFile{Keys: keys, path: path}, nil
}

// ReadKeyFile reads the keys at path. It refuses a symbolic link, a file that
// is not regular, that its group or others may read, or that belongs to
// another user. A missing file is [fs.ErrNotExist].
func ReadKeyFile(path string) (*KeyFile, error) {
	keys, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return &KeyFile{Keys: keys, path: path}, nil
}

// Rotate adds a generation and writes the file. Collectors use it once they
// have read the file again.
func (f *KeyFile) Rotate() (flow.Generation, error) {
	err := f.change(func(k *Keys) error { return k.add(rand.Reader) })
	if err != nil {
		return 0, fmt.Errorf("rotate key file %s: %w", f.path, err)
	}
	return f.Newest(), nil
}

// Erase removes the secret of generation g and writes the file: its
// pseudonyms can never be revealed again, except from copies of the file. The
// newest generation cannot be erased.
func (f *KeyFile) Erase(g flow.Generation) error {
	if err := f.change(func(k *Keys) error { return k.erase(g) }); err != nil {
		return fmt.Errorf("key file %s: %w", f.path, err)
	}
	return nil
}

// change applies a change to the keys as they are on disk now, and writes
// them. A failure leaves both the file and f as they were.
func (f *KeyFile) change(apply func(*Keys) error) error {
	keys, err := readKeys(f.path)
	if err != nil {
		return err
	}
	if err := apply(keys); err != nil {
		return err
	}
	if err := writeKeys(f.path, keys, os.Rename); err != nil {
		return err
	}
	f.Keys = keys
	return nil
}

func readKeys(path string) (*Keys, error) {
	fd, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("is a symbolic link, want the file itself")
	}
	if err != nil {
		return nil, cause(err)
	}
	defer fd.Close()
	info, err := fd.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if err := checkOwned(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(fd, maxKeyFile))
	if err != nil {
		return nil, cause(err)
	}
	defer clear(text)
	return parseKeys(string(text))
}

// checkOwned refuses a secret file that somebody else could read or has made.
func checkOwned(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("mode %#o lets others at it, want 0600 (chmod go= FILE)", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, want %d who runs this", st.Uid, os.Geteuid())
	}
	return nil
}

// writeKeys puts the keys into a temporary file beside path, on disk, and then
// in place: by link when there must be none yet, by rename to replace it. So
// no crash leaves half a key file under that name.
func writeKeys(path string, keys *Keys, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".flowhound-keys-*") // O_EXCL, mode 0600
	if err != nil {
		return cause(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	text := keys.appendText(nil)
	defer clear(text)
	if _, err := tmp.Write(text); err != nil {
		return cause(err)
	}
	if err := tmp.Sync(); err != nil {
		return cause(err)
	}
	if err := place(tmp.Name(), path); err != nil {
		return cause(err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return cause(err)
	}
	defer d.Close()
	return cause(d.Sync())
}

// cause strips the operation and the path that os errors repeat.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
