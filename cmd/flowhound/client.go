package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/internal/app"
)

// maxAnswer bounds what is read of one API answer, in bytes.
const maxAnswer = 64 << 20

// client asks a running appliance over its HTTP API.
type client struct {
	base string // http://host:port, without a slash at the end
	http *http.Client
}

// addServerFlag gives cmd the flag that says which appliance to ask.
func addServerFlag(cmd *cobra.Command) func() *client {
	address := cmd.Flags().String("server", app.DefaultHTTPAddress, "`address` of the appliance's HTTP port, host:port or URL")
	return func() *client { return newClient(*address) }
}

// newClient returns a client of the appliance at host:port or at a URL.
func newClient(address string) *client {
	base := strings.TrimRight(address, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return &client{base: base, http: &http.Client{Timeout: 30 * time.Second}}
}

// get fetches path and decodes its JSON answer into v. An error answer is
// returned with the appliance's own words.
func (c *client) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no appliance answers at %s; is `flowhound run` up, and is --server right? (%w)", c.base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask %s%s: %w", c.base, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var refusal struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(body, &refusal) == nil && refusal.Error != "" {
			return fmt.Errorf("%s: %s", c.base, refusal.Error)
		}
		return fmt.Errorf("ask %s%s: %s", c.base, path, resp.Status)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("ask %s%s: answer: %w", c.base, path, err)
	}
	return nil
}
