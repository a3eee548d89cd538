package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

const bashCompletion = `_sextant() {
  local words=("${COMP_WORDS[@]:0:$COMP_CWORD}")
  mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null | cut -d: -f1)" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _sextant sextant
`

const zshCompletion = `#compdef sextant
_sextant() {
  local -a found
  found=("${(@f)$(_CLI_ZSH_AUTOCOMPLETE_HACK=1 ${words[1,$CURRENT-1]} --generate-bash-completion 2>/dev/null)}")
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
