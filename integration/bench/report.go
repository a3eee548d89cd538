package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// WriteTable prints a run as a Markdown table that also reads well as it is.
func (r Run) WriteTable(w io.Writer) error {
	rows := [][]string{
		{"job", r.Ours + " IOPS", "MB/s", "p50 µs", "p99 µs", "CPU µs/op", r.Peer + " IOPS", "MB/s", "p50 µs", "p99 µs", "CPU µs/op", "ratio", "floor"},
	}
	for _, res := range r.Results {
		rows = append(rows, res.rows()...)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, cell := range cells {
			format := "| %*s "
			width := widths[i]
			if i == 0 {
				width = -width
			}
			fmt.Fprintf(&b, format, width, cell)
		}
		b.WriteString("|\n")
	}
	line(rows[0])
	for i, width := range widths {
		dashes := strings.Repeat("-", width)
		if i == 0 {
			b.WriteString("| " + dashes + " ")
		} else {
			b.WriteString("| " + dashes[1:] + ": ")
		}
	}
	b.WriteString("|\n")
	for _, row := range rows[1:] {
		line(row)
	}
	fmt.Fprintf(&b, "\n%v volume, %s, one connection on loopback; %s, %d cores, %.0f GiB, Linux %s, %s.\n",
		r.Size, r.length(), r.Machine.CPU, r.Machine.Cores, float64(r.Machine.Memory)/float64(block.GiB), r.Machine.Kernel, r.Machine.Go)
	b.WriteString("The ratio is of operations a second, with the peer's job that flushes after each write where ours is a write at QD1: our writes are always durable.\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return block.Wrap(block.Unavailable, err, "printing the table")
	}
	return nil
}

// length tells how long the jobs ran.
func (r Run) length() string {
	if r.Rounds == 1 {
		return fmt.Sprintf("%.0f s a job", r.Seconds)
	}
	return fmt.Sprintf("medians of %d rounds of %.0f s a job, the two in turn", r.Rounds, r.Seconds)
}

// rows are one, or two for a mixed job; the ratio stands in the first.
func (r Result) rows() [][]string {
	floor := ""
	if r.Floor > 0 {
		floor = fmt.Sprintf("%.2f", r.Floor)
		if r.Ratio < r.Floor {
			floor += " missed"
		}
	}
	mixed := r.Ours.Read != nil && r.Ours.Write != nil
	var rows [][]string
	for _, d := range []struct {
		name        string
		ours, peers *Figures
	}{{"read", r.Ours.Read, r.Peers.Read}, {"write", r.Ours.Write, r.Peers.Write}} {
		if d.ours == nil {
			continue
		}
		title := r.Title
		if mixed {
			title += ", " + d.name
		}
		row := append([]string{title}, d.ours.cells(r.Ours.CPU)...)
		row = append(row, d.peers.cells(r.Peers.CPU)...)
		if len(rows) == 0 {
			row = append(row, fmt.Sprintf("%.2f", r.Ratio), floor)
		} else {
			row = append(row, "", "")
		}
		rows = append(rows, row)
	}
	return rows
}

func (f *Figures) cells(cpu float64) []string {
	if f == nil {
		return []string{"", "", "", "", ""}
	}
	return []string{
		fmt.Sprintf("%.0f", f.Ops), fmt.Sprintf("%.0f", f.BytesSecond/1e6),
		fmt.Sprintf("%.0f", f.P50), fmt.Sprintf("%.0f", f.P99), fmt.Sprintf("%.0f", cpu),
	}
}

// Missed names the jobs whose ratio is below their floor.
func (r Run) Missed() []string {
	var names []string
	for _, res := range r.Results {
		if res.Ratio < res.Floor {
			names = append(names, fmt.Sprintf("%s (%.2f, floor %.2f)", res.Title, res.Ratio, res.Floor))
		}
	}
	return names
}

// WriteJSON keeps a run as DIR/NAME.json.
func (r Run) WriteJSON(dir, name string) (string, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", block.Wrap(block.Invalid, err, "encoding the results")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", block.Wrap(block.Unavailable, err, "making the folder for results")
	}
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return "", block.Wrap(block.Unavailable, err, "keeping the results")
	}
	return file, nil
}
