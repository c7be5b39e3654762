package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/app"
	"github.com/flowhound/flowhound/internal/flow"
)

// addKeyFlag gives cmd the flag that names the key file.
func addKeyFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("key", app.DefaultKeyFile(), "the key `file`")
}

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "create, show, rotate and erase the permutation keys",
		Long: `Keys make pseudonyms and turn them back. One file holds those of one realm:
a secret per generation, and one secret that fixes the shards for good.

Rotating adds a generation; collectors use it from their next start.
Old pseudonyms can be revealed until their generation is erased.`,
	}
	cmd.AddCommand(newKeysCreateCommand(), newKeysListCommand(), newKeysRotateCommand(), newKeysEraseCommand())
	return cmd
}

func newKeysCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "write a new key file, mode 0600; never over an existing one",
		Example: "  flowhound keys create --key /etc/flowhound/key --realm isp-core",
		Args:    cobra.NoArgs,
	}
	key := addKeyFlag(cmd)
	realm := cmd.Flags().String("realm", pseudonym.DefaultRealm, "`name` of the address space; the same address in two realms is two hosts")
	prefix := cmd.Flags().Int("ipv6-prefix", 64, "IPv6 `bits` that make a host, 32 to 128")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := os.MkdirAll(filepath.Dir(*key), 0o700); err != nil {
			return fmt.Errorf("create key file: %w", err)
		}
		keys, err := pseudonym.CreateKeyFile(*key, *realm, *prefix)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "created %s: realm %s, generation %d\nwhoever reads this file can reveal every host: back it up, keep it off the detectors\n", *key, keys.Realm(), keys.Newest())
		return err
	}
	return cmd
}

func newKeysListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "show the generations of a key file, not its secrets",
		Args:  cobra.NoArgs,
	}
	key := addKeyFlag(cmd)
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		keys, err := pseudonym.ReadKeyFile(*key)
		if err != nil {
			return err
		}
		type row struct {
			Generation flow.Generation `json:"generation"`
			Current    bool            `json:"current"`
		}
		var list []row
		var cells [][]string
		for _, g := range keys.Generations() {
			r := row{Generation: g, Current: g == keys.Newest()}
			list = append(list, r)
			cells = append(cells, []string{keys.Realm(), strconv.Itoa(int(g)), strconv.FormatBool(r.Current)})
		}
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), map[string]any{"realm": keys.Realm(), "ipv6_prefix": keys.IPv6Prefix(), "generations": list})
		}
		return printTable(cmd.OutOrStdout(), []string{"REALM", ">GENERATION", "CURRENT"}, cells)
	}
	return cmd
}

func newKeysRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "add a generation, which collectors use from their next start",
		Args:  cobra.NoArgs,
	}
	key := addKeyFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		keys, err := pseudonym.ReadKeyFile(*key)
		if err != nil {
			return err
		}
		g, err := keys.Rotate()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "generation %d is the newest of %s; a host has a new pseudonym from the collector's next start on\n", g, *key)
		return err
	}
	return cmd
}

func newKeysEraseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "erase GENERATION",
		Short: "destroy a generation's secret: its pseudonyms can never be revealed again",
		Args:  cobra.ExactArgs(1),
	}
	key := addKeyFlag(cmd)
	sure := cmd.Flags().Bool("yes", false, "really destroy it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := strconv.ParseUint(args[0], 10, 8)
		if err != nil {
			return fmt.Errorf("generation %q: want a number from 1 to 255", args[0])
		}
		if !*sure {
			return fmt.Errorf("erasing generation %d cannot be undone, and a collector that has run since before the last rotation still uses the old one: restart it first, then say --yes", g)
		}
		keys, err := pseudonym.ReadKeyFile(*key)
		if err != nil {
			return err
		}
		if err := keys.Erase(flow.Generation(g)); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "erased generation %d; copies and backups of the file still hold it\n", g)
		return err
	}
	return cmd
}

func newRevealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reveal PSEUDONYM",
		Short: "turn a pseudonym back into its address, with an audit line",
		Long: `Turns a pseudonym back into its address. Needs the key file, which only the
key holder has, and writes a line to the audit file before it answers: who, when,
which case, why. The lines are chained by hash; --verify checks the chain.`,
		Example: `  flowhound reveal p1.1.abcdefghijklmnopqrstuvwxyz --case 2026-117 --reason "abuse report"
  flowhound reveal --verify`,
	}
	key := addKeyFlag(cmd)
	audit := cmd.Flags().String("audit", "", "the audit `file` (default: audit.jsonl beside the key file)")
	caseID := cmd.Flags().String("case", "", "`identifier` of the case in your own system (required)")
	reason := cmd.Flags().String("reason", "", "`why` the address is needed (required)")
	verify := cmd.Flags().Bool("verify", false, "check the chain of the audit file instead")
	output := addOutputFlag(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *verify {
			return cobra.NoArgs(cmd, args)
		}
		return cobra.ExactArgs(1)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *audit == "" {
			*audit = filepath.Join(filepath.Dir(*key), "audit.jsonl")
		}
		if *verify {
			return verifyAudit(cmd, *audit, *output)
		}
		if strings.TrimSpace(*caseID) == "" || strings.TrimSpace(*reason) == "" {
			return fmt.Errorf("reveal: --case and --reason are required: they go into the audit line")
		}
		keys, err := pseudonym.ReadKeyFile(*key)
		if err != nil {
			return err
		}
		defer keys.Wipe()
		a, err := pseudonym.Reveal(keys.Keys, *audit, pseudonym.Request{
			Time: time.Now(), User: userName(), Case: *caseID, Reason: *reason, Pseudonym: args[0],
		})
		if err != nil {
			return err
		}
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), map[string]string{"pseudonym": args[0], "address": a.String()})
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), a)
		return err
	}
	return cmd
}

func verifyAudit(cmd *cobra.Command, path string, output outputFormat) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	chain, err := pseudonym.VerifyAudit(f)
	if err != nil {
		return fmt.Errorf("audit file %s: %w", path, err)
	}
	if output == outputJSON {
		return printJSON(cmd.OutOrStdout(), chain)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d lines, chain whole, head %s\n", path, chain.Lines, chain.Head)
	return err
}

// userName says who asks: the login name, and whose sudo it was.
func userName() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if s := os.Getenv("SUDO_USER"); s != "" {
		name += " (sudo by " + s + ")"
	}
	return name
}
