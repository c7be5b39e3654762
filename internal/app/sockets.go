package app

import (
	"os"

	"github.com/flowhound/flowhound/internal/lifecycle"
)

// ActivatedSockets returns the UDP sockets that the service manager opened for
// this process, none when it was started by hand. Every protocol is understood
// on every socket; their names are for people. Any other socket is an error.
func ActivatedSockets() ([]*os.File, error) {
	names := []string{"netflow", "ipfix", "sflow"}
	files, err := lifecycle.ActivatedDatagrams(names...)
	if err != nil {
		return nil, err
	}
	var sockets []*os.File
	for _, name := range names {
		sockets = append(sockets, files[name]...)
	}
	return sockets, nil
}
