package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFormat is the value of --output, which every command has that lists
// or measures: a table for people, JSON for programs.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
)

// String returns the format's name, as pflag wants it.
func (o *outputFormat) String() string { return string(*o) }

// Type names the value in --help.
func (o *outputFormat) Type() string { return "table|json" }

// Set accepts table and json.
func (o *outputFormat) Set(s string) error {
	switch f := outputFormat(s); f {
	case outputTable, outputJSON:
		*o = f
		return nil
	}
	return fmt.Errorf("want table or json")
}

// addOutputFlag gives cmd the --output flag, table by default.
func addOutputFlag(cmd *cobra.Command) *outputFormat {
	o := outputTable
	cmd.Flags().Var(&o, "output", "print a `table|json`")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &o
}

// printJSON writes v as one indented JSON value and a newline.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printJSONLine writes v as one JSON value on a line of its own.
func printJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printTable writes rows under a header in aligned columns; a column whose
// name starts with ">" is aligned to the right.
func printTable(w io.Writer, header []string, rows [][]string) error {
	right := make([]bool, len(header))
	widths := make([]int, len(header))
	names := make([]string, len(header))
	for i, h := range header {
		names[i], right[i] = strings.CutPrefix(h, ">")
		widths[i] = len([]rune(names[i]))
	}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{names}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if right[i] {
				cell = fmt.Sprintf("%*s", widths[i], cell)
			}
			cells[i] = cell
		}
		if _, err := fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), " \t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}
