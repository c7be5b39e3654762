package app

import (
	"fmt"
	"os"

	"github.com/flowhound/flowhound/internal/lifecycle"
)

// socketNames are the FileDescriptorName= that systemd's socket units may use.
// Every protocol is understood on every socket; the names are for people.
var socketNames = []string{"netflow", "ipfix", "sflow"}

// ActivatedSockets returns the UDP sockets that the service manager opened for
// this process, none when it was started by hand. A socket of another name is
// an error: it would otherwise fill up unread.
func ActivatedSockets() ([]*os.File, error) {
	files := lifecycle.ActivatedFiles()
	var sockets []*os.File
	for _, name := range socketNames {
		sockets = append(sockets, files[name]...)
		delete(files, name)
	}
	for name := range files {
		return nil, fmt.Errorf("socket %q from the service manager: want FileDescriptorName=netflow, ipfix or sflow", name)
	}
	return sockets, nil
}
