package stamp

import (
	"net/url"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

const defaultPort = "10809"

// endpoint is where an export is served.
type endpoint struct {
	network, address, export string
}

// parseURI reads nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH
// (the NBD URI specification, without TLS). Error kind: Invalid.
func parseURI(uri string) (endpoint, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return endpoint{}, block.Wrap(block.Invalid, err, "NBD URI %q", uri)
	}
	export := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "nbd":
		if u.Hostname() == "" {
			return endpoint{}, block.Errorf(block.Invalid, "NBD URI %q has no host", uri)
		}
		address := u.Host
		if u.Port() == "" {
			address += ":" + defaultPort
		}
		return endpoint{"tcp", address, export}, nil
	case "nbd+unix":
		socket := u.Query().Get("socket")
		if socket == "" {
			return endpoint{}, block.Errorf(block.Invalid, "NBD URI %q has no ?socket=PATH", uri)
		}
		return endpoint{"unix", socket, export}, nil
	}
	return endpoint{}, block.Errorf(block.Invalid, "NBD URI %q: give nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH", uri)
}
