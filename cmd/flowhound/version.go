package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/internal/metric"
)

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version and what it was built with",
		Args:  cobra.NoArgs,
	}
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info := metric.BuildInfo()
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), info)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "flowhound %s (%s, %s)\n", info.Version, info.Go, info.Platform)
		return err
	}
	return cmd
}
