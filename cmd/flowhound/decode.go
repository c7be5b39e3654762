package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/collector/decode/capture"
	"github.com/flowhound/flowhound/internal/flow"
)

func newDecodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "decode FILE...",
		Short: "decode export packets in files to flow records, as JSON Lines",
		Long: `Decodes NetFlow v5, v9, IPFIX and sFlow from capture files (pcap, pcapng) or
raw export messages, with the decoder of the collector, and prints a JSON object
per flow record: exporter, version, src, dst, src_port, dst_port, proto, packets,
bytes, start_ms, end_ms, tcp_flags, sampling.

Raw files name no exporter: those of one directory share their templates, so give
the files of an exporter together, in any order.
With --count, prints what each file held instead, and what could not be used, by
reason. Addresses are printed as they are: this is a tool for your own captures.`,
		Example: `  tcpdump -w export.pcap udp port 2055
  flowhound decode export.pcap | head
  flowhound decode --count export.pcap`,
		Args: cobra.MinimumNArgs(1),
	}
	count := cmd.Flags().Bool("count", false, "print counts per file instead of records")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *count {
			return decodeCount(cmd, args, *output)
		}
		out := bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16)
		var line []byte
		counts, err := capture.Decode(args, func(exporter netip.Addr, records []flow.Record) error {
			for i := range records {
				line = append(capture.AppendJSON(line[:0], exporter, &records[i]), '\n')
				if _, err := out.Write(line); err != nil {
					return err
				}
			}
			return cmd.Context().Err()
		})
		if flushErr := out.Flush(); err == nil {
			err = flushErr
		}
		for _, c := range counts {
			delete(c.Errors, capture.FileError) // err says more
			if len(c.Errors) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: of %d packets could not be used: %s\n", c.File, c.Packets, reasons(c.Errors))
			}
		}
		return err
	}
	return cmd
}

// decodeCount prints one JSON object per file, one a line, or a table.
func decodeCount(cmd *cobra.Command, files []string, output outputFormat) error {
	counts, err := capture.Decode(files, nil)
	if output == outputJSON {
		for _, c := range counts {
			if err := printJSONLine(cmd.OutOrStdout(), c); err != nil {
				return err
			}
		}
		return err
	}
	var rows [][]string
	for _, c := range counts {
		number := func(n uint64) string { return strconv.FormatUint(n, 10) }
		rows = append(rows, []string{c.File, number(c.Packets), number(c.Records), number(c.Options), number(c.Templates), reasons(c.Errors)})
	}
	if tableErr := printTable(cmd.OutOrStdout(), []string{"FILE", ">PACKETS", ">RECORDS", ">OPTIONS", ">TEMPLATES", "ERRORS"}, rows); err == nil {
		err = tableErr
	}
	return err
}

// reasons writes counts by reason in alphabetical order, "-" for none.
func reasons(counts map[string]uint64) string {
	if len(counts) == 0 {
		return "-"
	}
	var parts []string
	for reason, n := range counts {
		parts = append(parts, reason+" "+strconv.FormatUint(n, 10))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}
