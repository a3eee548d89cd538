package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// CacheEnv names an environment variable with the folder for what is fetched
// and built; default: .cache beside go.mod, as the Makefile has it.
const CacheEnv = "SEXTANT_CACHE"

// kernel is a bootable kernel and the modules that belong to it.
type kernel struct {
	version string
	image   string // its file
	modules string // the folder of its modules.dep
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil || mod == "" || mod == os.DevNull {
		return "", block.Errorf(block.NotFound, "no go.mod here and no %s: where is the cache? (%v)", CacheEnv, err)
	}
	return filepath.Join(filepath.Dir(mod), ".cache"), nil
}

// findKernel finds the newest kernel of Debian's package
// linux-image-cloud-amd64: unpacked in the cache, or installed on the host.
// Error kind: NotFound.
func findKernel(cache string) (kernel, error) {
	for _, root := range []string{filepath.Join(cache, "kernel"), "/"} {
		images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*-cloud-amd64"))
		if err != nil {
			return kernel{}, block.Wrap(block.NotFound, err, "looking for a kernel in %s", root)
		}
		sort.Strings(images)
		for i := len(images) - 1; i >= 0; i-- {
			version := strings.TrimPrefix(filepath.Base(images[i]), "vmlinuz-")
			modules := filepath.Join(root, "lib", "modules", version)
			if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err == nil {
				return kernel{version, images[i], modules}, nil
			}
		}
	}
	return kernel{}, block.Errorf(block.NotFound, "no kernel with its modules in %s or /boot: run scripts/deps", filepath.Join(cache, "kernel"))
}
