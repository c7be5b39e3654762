package collector

import "slices"

// Listening returns the addresses that the collector's sockets are bound to,
// host:port, each once.
func (c *Collector) Listening() []string {
	if c.active() == nil {
		return nil
	}
	var addresses []string
	for _, s := range c.input.Stats() {
		if !slices.Contains(addresses, s.Address) {
			addresses = append(addresses, s.Address)
		}
	}
	return addresses
}
