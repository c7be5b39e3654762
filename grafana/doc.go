// Package grafana holds what FlowHound brings for Grafana and Prometheus: a
// dashboard with its provisioning, an example scrape configuration, and rules.
// Its tests check them against Prometheus's own tools, and try every query on
// a real Prometheus that scrapes a real appliance.
package grafana
