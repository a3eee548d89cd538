package cli

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
)

// completionFlag, as the last argument, makes the command print what could
// stand in its place. A word that was begun with a dash stands before it.
const completionFlag = "--generate-bash-completion"

const bashCompletion = `_sextant() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:$COMP_CWORD}")
  [[ $cur == -* ]] && words+=("$cur")
  mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" ` + completionFlag + ` 2>/dev/null | cut -d: -f1)" -- "$cur")
}
complete -o default -F _sextant sextant
`

const zshCompletion = `#compdef sextant
_sextant() {
  local cur=${words[CURRENT]}
  local -a found given=("${(@)words[1,CURRENT-1]}")
  [[ $cur == -* ]] && given+=("$cur")
  found=("${(@f)$(env 0=zsh "${given[@]}" ` + completionFlag + ` 2>/dev/null)}")
  _describe 'sextant' found
}
compdef _sextant sextant
`

func completionCommand() *cli.Command {
	script := func(shell, text string) *cli.Command {
		return &cli.Command{Name: shell, Usage: "print the completion script for " + shell, Action: func(c *cli.Context) error {
			_, err := fmt.Fprint(c.App.Writer, text)
			return err
		}}
	}
	return &cli.Command{Name: "completion", Usage: "print a shell completion script: source <(sextant completion bash)",
		Subcommands: []*cli.Command{script("bash", bashCompletion), script("zsh", zshCompletion)}}
}

// completing tells whether the command line asks for completion, and whether
// there can be one: after "--" stand only arguments, which are not completed.
func completing(args []string) (asked, possible bool) {
	asked = len(args) > 1 && args[len(args)-1] == completionFlag
	return asked, asked && !slices.Contains(args, "--")
}
