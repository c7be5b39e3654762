package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/detector/graph/edgelist"
)

func newConvertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert --edges FILE TO",
		Short: "write an edge list in the fast binary form",
		Long: `Reads an edge list in any form that rank takes, and writes its links once each in
the binary form, which rank and detect know by its first bytes and read faster:
"FHEDGE", a byte 1, a byte 4 or 8 for the width of an id, the number
of links in 8 bytes, each link as source and destination, and the CRC-32C of all
that; numbers are little-endian. A host without links is there as a link to itself.

TO may be - for standard output. A file TO is replaced when all is written.`,
		Example: "  flowhound testbench convert --edges links.txt links.fhedge\n  flowhound rank --edges links.fhedge",
		Args:    cobra.ExactArgs(1),
	}
	f := addEdgeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := f.load(cmd)
		if err != nil {
			return err
		}
		write := func(w io.Writer) error { return edgelist.Write(w, g.view, g.ids) }
		if args[0] == "-" {
			return write(cmd.OutOrStdout())
		}
		if err := replaceFile(args[0], write); err != nil {
			return fmt.Errorf("convert: %w", err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d hosts, %d links\n", args[0], g.view.Len(), g.view.Links())
		return err
	}
	return cmd
}

// replaceFile writes a file beside path and then moves it there: half a list is
// none, and must not cost the one that was there. What is no regular file, such
// as a pipe, is written as it stands.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	temp := path
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		temp += ".tmp"
	}
	file, err := os.Create(temp)
	if err != nil {
		return err
	}
	if err = errors.Join(write(file), file.Close()); temp == path {
		return err
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}
