package main

import (
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/internal/app"
	"github.com/flowhound/flowhound/internal/config"
)

// saveMemory sets how much garbage may pile up on the live heap, unless GOGC says
// it. The appliance's state is a few large arrays without pointers, which cost the
// garbage collector nothing to pass over; Go's default of 100 would double its
// memory. A detector's graph may be gigabytes, and the rest is small beside it.
func saveMemory(role app.Role) {
	percent := detector.GCPercent
	if role == app.CollectorOnly {
		percent = 25
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// addConfigFlags gives cmd the flags of everything that runs an appliance and
// returns what loads its configuration: defaults, file, environment, flags.
func addConfigFlags(cmd *cobra.Command) func() (app.Config, error) {
	file := cmd.Flags().StringP("config", "c", "", "configuration `file` (YAML); without one, the built-in defaults")
	state := cmd.Flags().String("state-dir", "", "state `directory`, instead of state_dir of the configuration")
	listen := cmd.Flags().String("http", "", "HTTP `address`, instead of http.listen of the configuration")
	return func() (app.Config, error) {
		cfg, err := app.LoadConfig(*file, func(c *app.Config) {
			if *state != "" {
				c.StateDir = *state
			}
			if *listen != "" {
				c.HTTP.Listen = *listen
			}
		})
		return cfg, err
	}
}

func newRunCommand() *cobra.Command {
	return newRoleCommand(app.All, &cobra.Command{
		Use:   "run",
		Short: "the whole appliance in one process",
		Long: `Runs collector, log and detector in one process. Without a configuration it
listens for NetFlow and IPFIX on UDP 2055 and 4739, for sFlow on 6343, and serves
a status page, metrics and the API on http://` + app.DefaultHTTPAddress + `/.

Ctrl-C or SIGTERM ends it cleanly: everything received is on disk, and the next
start goes on from there. SIGHUP reloads exporters and seeds.`,
		Example: "  flowhound run\n  flowhound run --config /etc/flowhound/flowhound.yaml",
	})
}

func newCollectorCommand() *cobra.Command {
	return newRoleCommand(app.CollectorOnly, &cobra.Command{
		Use:   "collector",
		Short: "only the collector, for a POP; forwards to the log at log.url",
		Long: `Receives export packets, pseudonymises them and writes contacts into its own log
in the state directory, from which they go to a log on another machine: log.url
in the configuration, or FLOWHOUND_LOG_URL. While that is away they wait on disk,
up to log.max_bytes.`,
		Example: "  FLOWHOUND_LOG_URL=nats://10.0.0.5:4222 flowhound collector",
	})
}

func newDetectorCommand() *cobra.Command {
	return newRoleCommand(app.DetectorOnly, &cobra.Command{
		Use:   "detector",
		Short: "only the detector; holds the log itself unless log.url names one",
		Long: `Follows the log, keeps the host graph, ranks it and names suspects. Needs no
key and never has one. With log.listen it accepts collectors on other machines.`,
		Example: "  flowhound detector --config detector.yaml",
	})
}

// newRoleCommand completes a command that runs an appliance until a signal.
func newRoleCommand(role app.Role, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	load := addConfigFlags(cmd)
	var rebuild *bool
	if role != app.CollectorOnly {
		rebuild = cmd.Flags().Bool("rebuild", false, "set snapshots aside that cannot be read, and replay the log")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if rebuild != nil {
			cfg.Detector.Rebuild = *rebuild
		}
		deps := app.Deps{Logger: app.NewLogger(cmd.ErrOrStderr(), cfg.Logging), Load: load}
		if role != app.DetectorOnly {
			if deps.Sockets, err = app.ActivatedSockets(); err != nil {
				return err
			}
		}
		a, err := app.New(cfg, role, deps)
		if err != nil {
			return err
		}
		saveMemory(role)
		return a.Process().Run(cmd.Context())
	}
	return cmd
}

func newCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "validate a configuration and print the merged result",
		Long: `Reads a configuration as run would, with defaults and environment merged in,
and prints the result with every field explained. An unknown or wrong key is an
error with file, line, column and the line itself. Without FILE, prints the
defaults: a starting point for your own file.`,
		Example: "  flowhound check > flowhound.yaml\n  flowhound check flowhound.yaml",
		Args:    cobra.MaximumNArgs(1),
	}
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := ""
		if len(args) == 1 {
			path = args[0]
		}
		cfg, err := app.LoadConfig(path, nil)
		if err != nil {
			return err
		}
		return printConfig(cmd.OutOrStdout(), cfg, *output)
	}
	return cmd
}

// printConfig prints cfg with the keys of the file, in either format.
func printConfig(w io.Writer, cfg app.Config, output outputFormat) error {
	if output == outputJSON {
		return config.DumpJSON(w, cfg)
	}
	return config.Dump(w, cfg, app.ConfigDocs())
}
