package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// suspect is a suspect as the API tells it.
type suspect struct {
	Pseudonym  string   `json:"pseudonym"`
	Score      float64  `json:"score"`
	ClientRank float64  `json:"client_rank"`
	ServerRank float64  `json:"server_rank"`
	Cluster    int      `json:"cluster"`
	Seed       bool     `json:"seed"`
	Evidence   []string `json:"evidence"`
}

func newSuspectsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suspects",
		Short: "whom the running appliance suspects, and why",
		Long: `Lists the suspects of the newest epoch, the highest score first. Ranks are
multiples of the average host's; a cluster is a group of suspects that talk to each
other. Hosts are pseudonymised: flowhound reveal names them, with the key.`,
		Example: "  flowhound suspects --top 20\n  flowhound suspects --output json | jq .suspects[].pseudonym",
		Args:    cobra.NoArgs,
	}
	ask := addServerFlag(cmd)
	top := cmd.Flags().Int("top", 20, "list at most `N` suspects")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/api/v1/suspects?top=" + strconv.Itoa(*top)
		if *output == outputJSON {
			return passJSON(cmd, ask(), path)
		}
		var answer struct {
			Epoch struct {
				Hosts int       `json:"hosts"`
				End   time.Time `json:"end"`
			} `json:"epoch"`
			Total    int       `json:"total"`
			Suspects []suspect `json:"suspects"`
		}
		if err := ask().get(cmd.Context(), path, &answer); err != nil {
			return err
		}
		var rows [][]string
		for _, s := range answer.Suspects {
			rows = append(rows, []string{s.Pseudonym, twoDigits(s.Score), times(s.ClientRank), times(s.ServerRank), strconv.Itoa(s.Cluster), strings.Join(s.Evidence, "; ")})
		}
		if err := printTable(cmd.OutOrStdout(), []string{"PSEUDONYM", ">SCORE", ">CLIENT", ">SERVER", ">CLUSTER", "EVIDENCE"}, rows); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%d of %d suspects among %d hosts, window to %s\n", len(rows), answer.Total, answer.Epoch.Hosts, answer.Epoch.End.Format(time.RFC3339))
		return err
	}
	return cmd
}

// passJSON prints an answer of the API as it is, indented.
func passJSON(cmd *cobra.Command, c *client, path string) error {
	var answer any
	if err := c.get(cmd.Context(), path, &answer); err != nil {
		return err
	}
	return printJSON(cmd.OutOrStdout(), answer)
}

func twoDigits(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// times prints a multiple of the average.
func times(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) + "×" }

func newExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain PSEUDONYM",
		Short:   "everything known about one host: ranks, group, peers",
		Example: "  flowhound explain p1.1.abcdefghijklmnopqrstuvwxyz",
		Args:    cobra.ExactArgs(1),
	}
	ask := addServerFlag(cmd)
	peers := cmd.Flags().Int("peers", 20, "list at most `N` peers")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "/api/v1/hosts/" + url.PathEscape(args[0]) + "?peers=" + strconv.Itoa(*peers)
		if *output == outputJSON {
			return passJSON(cmd, ask(), path)
		}
		var h explained
		if err := ask().get(cmd.Context(), path, &h); err != nil {
			return err
		}
		return h.print(cmd)
	}
	return cmd
}

// explained is a host as the API tells it.
type explained struct {
	Pseudonym   string  `json:"pseudonym"`
	Score       float64 `json:"score"`
	ClientRank  float64 `json:"client_rank"`
	ServerRank  float64 `json:"server_rank"`
	ClientShare float64 `json:"client_share"`
	ServerShare float64 `json:"server_share"`
	Core        struct {
		Core int `json:"core"`
		Cap  int `json:"cap"`
		Null int `json:"null"`
	} `json:"core"`
	Seed    bool `json:"seed"`
	Out     int  `json:"out"`
	In      int  `json:"in"`
	Suspect *struct {
		Since   time.Time `json:"since"`
		Cluster struct {
			ID    int `json:"id"`
			Hosts int `json:"hosts"`
		} `json:"cluster"`
		Evidence []string `json:"evidence"`
	} `json:"suspect"`
	PeersTotal int `json:"peers_total"`
	Peers      []struct {
		Pseudonym string    `json:"pseudonym"`
		Score     float64   `json:"score"`
		Suspect   bool      `json:"suspect"`
		Out       bool      `json:"out"`
		In        bool      `json:"in"`
		Answered  bool      `json:"answered"`
		LastSeen  time.Time `json:"last_seen"`
		Flows     uint32    `json:"flows"`
		Bytes     uint64    `json:"bytes"`
		Port      uint16    `json:"port"`
		Proto     uint8     `json:"proto"`
	} `json:"peers"`
}

func (h *explained) print(cmd *cobra.Command) error {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s\n\n", h.Pseudonym)
	if s := h.Suspect; s != nil {
		fmt.Fprintf(w, "suspect since %s, in cluster %d of %d hosts:\n", s.Since.Format(time.RFC3339), s.Cluster.ID, s.Cluster.Hosts)
		for _, e := range s.Evidence {
			fmt.Fprintf(w, "  - %s\n", e)
		}
	} else {
		fmt.Fprintln(w, "no suspect")
	}
	if h.Seed {
		fmt.Fprintln(w, "a seed: known as a bot from outside")
	}
	fmt.Fprintf(w, "\nscore        %.2f\n", h.Score)
	fmt.Fprintf(w, "client rank  %.2f × the average (in the top %.2g %%)\n", h.ClientRank, 100*h.ClientShare)
	fmt.Fprintf(w, "server rank  %.2f × the average (in the top %.2g %%)\n", h.ServerRank, 100*h.ServerShare)
	fmt.Fprintf(w, "links        %d out, %d in\n", h.Out, h.In)
	if h.Core.Core > 0 {
		fmt.Fprintf(w, "group        each member keeps at least %d of the others as peers; by chance at most %d\n             (among hosts of at most %d peers, so that popular servers join nobody)\n", h.Core.Core, h.Core.Null, h.Core.Cap)
	}
	fmt.Fprintf(w, "\n%d of %d peers:\n", len(h.Peers), h.PeersTotal)
	var rows [][]string
	for _, p := range h.Peers {
		direction := map[[2]bool]string{{true, true}: "both", {true, false}: "out", {false, true}: "in"}[[2]bool{p.Out, p.In}]
		rows = append(rows, []string{p.Pseudonym, twoDigits(p.Score), yes(p.Suspect), direction, yes(p.Answered), strconv.Itoa(int(p.Flows)), strconv.FormatUint(p.Bytes, 10), fmt.Sprintf("%d/%d", p.Proto, p.Port), p.LastSeen.Format("15:04")})
	}
	return printTable(w, []string{"PSEUDONYM", ">SCORE", "SUSPECT", "DIRECTION", "ANSWERED", ">FLOWS", ">BYTES", ">PROTO/PORT", ">SEEN BEFORE"}, rows)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func newExportersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exporters",
		Short: "the routers that the running collector hears, and how well",
		Long: `Lists the exporters: rate of flow records, what was lost by their sequence
numbers, sampling, templates, forks (two senders under one address: spoofing or
NAT), how far their clock is off, when they were last heard. An exporter that the configuration does not name shows as a pseudonym.`,
		Args: cobra.NoArgs,
	}
	ask := addServerFlag(cmd)
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		const path = "/api/v1/exporters"
		if *output == outputJSON {
			return passJSON(cmd, ask(), path)
		}
		var list []struct {
			Name      string  `json:"name"`
			Rate      float64 `json:"rate"`
			Records   uint64  `json:"records"`
			Lost      uint64  `json:"lost"`
			Sampling  uint32  `json:"sampling"`
			Templates int     `json:"templates"`
			Forks     uint64  `json:"sequence_forks"`
			ClockSkew float64 `json:"clock_skew"`
			LastSeen  float64 `json:"last_seen_seconds"`
		}
		if err := ask().get(cmd.Context(), path, &list); err != nil {
			return err
		}
		var rows [][]string
		for _, e := range list {
			rows = append(rows, []string{e.Name, strconv.FormatFloat(e.Rate, 'f', 1, 64), strconv.FormatUint(e.Records, 10), strconv.FormatUint(e.Lost, 10), strconv.FormatUint(uint64(e.Sampling), 10), strconv.Itoa(e.Templates), strconv.FormatUint(e.Forks, 10), strconv.FormatFloat(e.ClockSkew, 'f', 1, 64), strconv.FormatFloat(e.LastSeen, 'f', 0, 64)})
		}
		return printTable(cmd.OutOrStdout(), []string{"EXPORTER", ">RECORDS/S", ">RECORDS", ">LOST", ">SAMPLING 1:", ">TEMPLATES", ">FORKS", ">CLOCK S AHEAD", ">SEEN S AGO"}, rows)
	}
	return cmd
}
