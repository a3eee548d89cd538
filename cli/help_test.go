package cli_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/cli"
)

// contract is what checks and scripts of users rely on: each command with
// flags that it has. More may be added; none may go.
var contract = map[string][]string{
	"dev":           {"data", "nbd", "nbd-socket", "http", "metadata", "volume", "size", "pg-size", "config", "pprof", "log-level", "log-json"},
	"metadata":      {"id", "data", "listen", "raft", "bootstrap", "join", "http", "config", "pprof"},
	"segment":       {"data", "zone", "listen", "metadata", "node", "capacity", "http", "config", "pprof", "scrub-days", "rebuild-index"},
	"nbd":           {"listen", "socket", "metadata", "zone", "http", "config", "pprof"},
	"volume create": {"size", "pg-size", "copies", "write-quorum", "read-quorum", "metadata", "output"},
	"volume list":   {"metadata", "output"}, "volume show": {"metadata", "output"},
	"volume resize": {"size", "metadata", "output"}, "volume delete": {"metadata", "output"},
	"node list": {"metadata", "output"}, "node scrub": {"metadata", "output"}, "node show": {"metadata", "output"}, "node drain": {"metadata", "output"},
	"node activate": {"metadata", "output"}, "node remove": {"metadata", "output"},
	"pg list": {"metadata", "output"}, "pg show": {"metadata", "output", "digest"}, "pg replace": {"cancel", "metadata", "output", "segment", "to", "wait"},
	"pg reduce": {"all", "cancel", "metadata", "output", "wait", "zone"}, "pg restore": {"all", "cancel", "metadata", "output", "wait"},
	"status":      {"metadata", "output"},
	"inspect log": {"output", "records"}, "inspect index": {"output"}, "inspect checkpoint": {"output"},
	"completion bash": nil, "completion zsh": nil, "version": nil,
	"": nil, "volume": nil, "node": nil, "pg": nil, "inspect": nil, "completion": nil,
}

// help runs sextant with those arguments and --help.
func help(t *testing.T, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	if got := cli.Main("v", slices.Concat([]string{"sextant"}, args, []string{"--help"}), &out, &complaints); got != 0 || complaints.Len() > 0 {
		t.Errorf("sextant %s --help: exit status %d, standard error %q", strings.Join(args, " "), got, &complaints)
	}
	return out.String()
}

// TestHelp: each command tells what it does and which flags it has, in so
// many words for each.
func TestHelp(t *testing.T) {
	for command, flags := range contract {
		text := help(t, strings.Fields(command)...)
		if !strings.Contains(text, "USAGE:\n   "+strings.TrimSpace("sextant "+command)) {
			t.Errorf("help of %q has no usage line:\n%s", command, text)
		}
		for _, f := range flags {
			i := strings.Index(text, "   --"+f)
			if i < 0 {
				t.Errorf("help of %q does not name --%s:\n%s", command, f, text)
				continue
			}
			line, _, _ := strings.Cut(text[i:], "\n")
			if len(strings.Fields(line)) < 4 {
				t.Errorf("help of %q says nothing of --%s: %s", command, f, line)
			}
		}
	}
}

// TestContractIsWhole: a command that help lists stands in the contract, too.
func TestContractIsWhole(t *testing.T) {
	var walk func(path []string)
	walk = func(path []string) {
		_, list, found := strings.Cut(help(t, path...), "COMMANDS:\n")
		if !found {
			return
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, line := range strings.Split(list, "\n") {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name = strings.TrimSuffix(name, ","); name == "help" || name == "" {
				continue
			}
			sub := append(slices.Clone(path), name)
			if _, known := contract[strings.Join(sub, " ")]; !known {
				t.Errorf("command %q is not in the contract of this test", strings.Join(sub, " "))
			}
			walk(sub)
		}
	}
	walk(nil)
}
