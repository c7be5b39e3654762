// Package systemd holds the units that FlowHound is shipped with; its test
// asks systemd itself what it thinks of them (systemd-analyze(1) verify and
// security).
package systemd
