package lifecycle

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// ActivatedFiles returns the sockets that the service manager opened for this
// process, by FileDescriptorName= of their units (sd_listen_fds(3)); several
// of one name keep their order. The environment that announces them is
// cleared, so that no child takes them for its own and a second call returns
// none. The caller closes them.
func ActivatedFiles() map[string][]*os.File {
	files := map[string][]*os.File{}
	for _, f := range activation.Files(true) {
		files[f.Name()] = append(files[f.Name()], f)
	}
	return files
}

// ActivatedDatagrams is [ActivatedFiles] for a process that reads datagram
// sockets of these names only: any other socket is an error that names it,
// for a misspelt FileDescriptorName= would let a socket fill up unread.
func ActivatedDatagrams(names ...string) (map[string][]*os.File, error) {
	files := ActivatedFiles()
	for name, list := range files {
		for _, f := range list {
			if err := checkDatagram(f, names); err != nil {
				closeAll(files)
				return nil, fmt.Errorf("socket %q from the service manager: %w", name, err)
			}
		}
	}
	return files, nil
}

func checkDatagram(f *os.File, names []string) error {
	if !slices.Contains(names, f.Name()) {
		return fmt.Errorf("unknown FileDescriptorName, want one of %s", strings.Join(names, ", "))
	}
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("not a socket: %w", err)
	}
	if kind != unix.SOCK_DGRAM {
		return fmt.Errorf("not a datagram socket (ListenDatagram=)")
	}
	return nil
}

func closeAll(files map[string][]*os.File) {
	for _, list := range files {
		for _, f := range list {
			_ = f.Close()
		}
	}
}
