package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector"
)

// account is what a receiver tells at its end.
type account struct {
	Packets uint64 `json:"packets"` // received
	Records uint64 `json:"records"` // covered by commits in the log
}

// accountPrefix begins the line with the account.
const accountPrefix = "account "

func readAccount(output string) (a account, err error) {
	_, text, ok := strings.Cut(output, accountPrefix)
	if !ok {
		return a, errors.New("no account")
	}
	line, _, _ := strings.Cut(text, "\n")
	return a, json.Unmarshal([]byte(line), &a)
}

// Receive is the receiver that FlowHound puts beside its peers: a collector
// and the embedded log of a state directory, with their defaults, until ctx
// ends. It listens on address, or on files, the sockets of a service manager.
// It writes to w when it is ready and, at its end, what it took.
func Receive(ctx context.Context, address, dir string, files []*os.File, w io.Writer) (err error) {
	cfg := collector.DefaultConfig()
	cfg.Listen = []string{address}
	input, err := collector.Listen(cfg, files)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	defer input.Close()
	for _, f := range files {
		_ = f.Close() // Listen has duplicated them
	}
	log, err := openLog(ctx, dir)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	count := &counted{Log: log}
	cfg.Keys.File = filepath.Join(dir, "keys")
	cfg.Templates.File = filepath.Join(dir, "templates")
	c, err := collector.New(cfg, collector.Deps{Log: count, Input: input,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("receive: %w", errors.Join(err, stop(c)))
	}
	_, _ = fmt.Fprintln(w, "ready")
	<-ctx.Done()
	if err := stop(c); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	text, err := json.Marshal(account{Packets: c.Status().Packets, Records: count.records.Load()})
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", accountPrefix, text)
	return err
}
