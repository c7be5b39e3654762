// Command flowhound finds peer-to-peer botnets in NetFlow, IPFIX and sFlow.
// One binary holds the whole appliance (run), its two roles (collector,
// detector), a demonstration, and the tools that analysts and key holders use
// over files; flowhound --help lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errVerdict ends a command that worked and whose answer is "no": the demo
// that did not find its botnet. Its text has been printed already.
var errVerdict = errors.New("the answer is no")

// run executes one command line and returns the exit status: 0, or 1 after
// one line on stderr that says what is wrong.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errVerdict):
		return 1
	case errors.Is(err, syscall.EPIPE):
		return 0 // the reader of a pipe has seen enough
	}
	fmt.Fprintf(stderr, "flowhound: %v\n", err)
	return 1
}

// newRoot returns the tree of all commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "flowhound",
		Short: "find peer-to-peer botnets in NetFlow, IPFIX and sFlow",
		Long: `FlowHound finds peer-to-peer botnets in NetFlow.

Routers export NetFlow v5, v9, IPFIX or sFlow to it; it pseudonymises every
address, keeps the graph of who talked to whom, ranks it once per slice of
time, and shows the hosts that stand out, and why.

Start here:
  flowhound demo        watch it find a botnet in generated traffic, under a minute
  flowhound run         the whole appliance in one process
  flowhound suspects    whom the running appliance suspects`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: "appliance", Title: "The appliance:"},
		&cobra.Group{ID: "ask", Title: "Ask a running appliance:"},
		&cobra.Group{ID: "files", Title: "Work on files:"},
		&cobra.Group{ID: "keys", Title: "For the key holder:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("appliance", newRunCommand(), newCollectorCommand(), newDetectorCommand(), newDemoCommand(), newCheckCommand())
	add("ask", newSuspectsCommand(), newExplainCommand(), newExportersCommand())
	add("files", newDecodeCommand(), newRankCommand(), newDetectCommand(), newTestbenchCommand())
	add("keys", newKeysCommand(), newRevealCommand())
	root.AddCommand(newVersionCommand())
	return root
}
