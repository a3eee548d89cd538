package torture

import (
	"slices"

	"github.com/sextantdisk/sextant/integration/history"
)

// busiest are the n blocks with most operations.
func busiest(byBlock map[history.Block][]history.Op, n int) []history.Block {
	blocks := make([]history.Block, 0, len(byBlock))
	for b := range byBlock {
		blocks = append(blocks, b)
	}
	slices.SortFunc(blocks, func(a, b history.Block) int {
		if d := len(byBlock[b]) - len(byBlock[a]); d != 0 {
			return d
		}
		return int(int64(a) - int64(b))
	})
	return blocks[:min(n, len(blocks))]
}
