package vm

import (
	"path"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// loadOrder reads a modules.dep and gives the files of the modules named and
// of all that they need, each after what it needs itself. A name without a
// file is built into the kernel if builtin (modules.builtin) lists it. Error
// kind: NotFound.
func loadOrder(dep, builtin string, names []string) ([]string, error) {
	files := map[string]string{}   // by module name
	needs := map[string][]string{} // by file
	for _, line := range strings.Split(dep, "\n") {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		files[moduleName(file)] = file
		needs[file] = strings.Fields(rest)
	}
	in := map[string]bool{}
	for _, file := range strings.Fields(builtin) {
		in[moduleName(file)] = true
	}
	var order []string
	done := map[string]bool{}
	var add func(file string)
	add = func(file string) {
		if done[file] {
			return
		}
		done[file] = true
		for _, n := range needs[file] {
			add(n)
		}
		order = append(order, file)
	}
	for _, name := range names {
		file, ok := files[name]
		switch {
		case ok:
			add(file)
		case !in[name]:
			return nil, block.Errorf(block.NotFound, "the kernel has no module %s", name)
		}
	}
	return order, nil
}

// moduleName is the name of a module's file as the kernel has it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
