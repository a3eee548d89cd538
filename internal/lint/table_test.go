package lint

// modulePath is the prefix of our own import paths.
const modulePath = "github.com/sextantdisk/sextant"

// place says where a package stands: what it may import and what it is made
// of. Paths are relative to modulePath; "." is the main package.
type place struct {
	// level 0 is the bottom. A package imports only what stands below it or
	// beside it.
	level int
	// may lists the packages of ours that it may import.
	may []string
	// third lists import path prefixes of other modules.
	third []string
	// noFiles: it reaches files only through internal/vfs, so that crash
	// and fault tests see all that it does.
	noFiles bool
	// noClock: it reads the time only through internal/clock, so that tests
	// and the simulator can move time.
	noClock bool
	// pure: no clock, randomness, goroutines, channels, locks, files,
	// network or logger: the same input gives the same output for ever.
	pure bool
	// typed: no naked uint64 or int64 in what it exports.
	typed bool
	// why is the reason for the package's place, shown with a finding.
	why string
}

const everything = "*"

// nouns may be imported by everything from level 1 up, but by pure packages
// only as their place says.
var nouns = []string{
	"internal/block", "internal/slab", "internal/clock", "internal/invariant", "internal/mutant", "internal/telemetry",
}

// testKit may be imported by the tests of every package.
var testKit = []string{"internal/testutil", "internal/vfs", "internal/vfs/memfs", "internal/vfs/faultfs", "internal/vfs/vfstest"}

// testLibraries are modules that only tests may import.
var testLibraries = []string{
	"go.uber.org/goleak", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/testscript",
	"github.com/anishathalye/porcupine", "github.com/johannesboyne/gofakes3", "golang.org/x/sys/unix",
	"github.com/pojntfx/go-nbd/pkg/protocol",
}

const (
	grpcPath     = "google.golang.org/grpc"
	protobufPath = "google.golang.org/protobuf"
	genprotoPath = "google.golang.org/genproto"
	unixPath     = "golang.org/x/sys/unix"
	syncPath     = "golang.org/x/sync"
	zstdPath     = "github.com/klauspost/compress"
	promPath     = "github.com/prometheus/client_golang"
	uuidPath     = "github.com/google/uuid"
)

// table is the map of the tree. To add a package, put it at the lowest level
// that it can do with, name in may only what it needs today, and say why.
var table = map[string]place{
	// Level 0: knows nothing of Sextant's parts.
	"internal/block": {level: 0, pure: true,
		why: "the nouns are shared by all, so they depend on nothing"},
	"internal/slab": {level: 0, third: []string{unixPath},
		why: "buffers are lent to every layer and know none"},
	"internal/boxcar": {level: 0, may: []string{"internal/block", "internal/slab"}, third: []string{unixPath},
		why: "one socket writer serves clients and segments alike, so it knows neither protocol"},
	"internal/pollset": {level: 0, may: []string{"internal/block"}, third: []string{unixPath},
		why: "many sockets read by one goroutine"},
	"internal/clock": {level: 0, third: []string{unixPath},
		why: "time as an interface; the only place that reads the machine's clock for the core; unix: CLOCK_BOOTTIME"},
	"internal/invariant": {level: 0, may: []string{"internal/block"},
		why: "assertions are called from everywhere"},
	"internal/mutant":      {level: 0, pure: false, why: "a rule can be broken anywhere"},
	"internal/mutant/hunt": {level: 0, may: []string{"internal/mutant"}, why: "the command behind make mutants"},
	"internal/vfs": {level: 0, may: []string{"internal/block", "internal/slab", "internal/invariant"}, third: []string{unixPath},
		why: "the only door to files"},
	"internal/vfs/memfs": {level: 0, may: []string{"internal/block", "internal/vfs"}, noFiles: true,
		why: "a disk in memory that can crash"},
	"internal/vfs/faultfs": {level: 0, may: []string{"internal/block", "internal/slab", "internal/vfs"}, noFiles: true,
		why: "a disk that fails by rule"},
	"internal/vfs/vfstest": {level: 0, may: []string{"internal/block", "internal/vfs", "internal/vfs/memfs"},
		why: "runs a test on each kind of disk"},
	"internal/timerslack": {level: 0, may: []string{"internal/block"}, third: []string{unixPath},
		why: "the kernel's slack with timers is set before anything else runs"},
	"internal/lint":      {level: 0, why: "it reads the tree, it is no part of the product"},
	"internal/testutil":  {level: 0, may: []string{"internal/block", "internal/clock"}, why: "helpers of tests"},
	"internal/telemetry": {level: 0, may: []string{"internal/block"}, third: []string{promPath}, why: "metrics and health pages, told what to show by their owners"},

	// Level 1: one idea each, side by side.
	"wire": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant", "internal/slab"}, pure: true, typed: true,
		why: "frames are a format: encoding them needs no goroutine, no clock and no socket"},
	"logstore/chain": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant"}, pure: true, typed: true,
		why: "what is complete is decided by the records alone"},
	"logstore/hydration": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant"}, pure: true, typed: true,
		why: "which leaves count is a state machine: the simulator runs the same code"},
	"logstore": {level: 1, may: append([]string{"internal/vfs", "logstore/chain", "logstore/hydration"}, nouns...), noFiles: true, noClock: true, typed: true,
		why: "one disk's log knows neither the network nor the backup"},
	"volume/quorum": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant"}, pure: true, typed: true,
		why: "what is committed is decided by acks alone, and must be testable without a cluster"},
	"volume/pg": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant", "volume/quorum", "wire"}, pure: true, typed: true,
		why: "a protection group's writer is a state machine: the simulator runs the same code"},
	"segmentd/segment": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant", "logstore/chain", "wire"}, pure: true, typed: true,
		why: "a segment's answers are a state machine: the simulator runs the same code"},
	"segmentd/pull": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant"}, pure: true, typed: true,
		why: "from whom a segment takes what it lacks is a state machine: the simulator runs the same code"},
	"metadata/metadatapb": {level: 1, third: []string{grpcPath, protobufPath, genprotoPath},
		why: "generated"},
	"metadata": {level: 1, may: append([]string{"metadata/metadatapb"}, nouns...),
		third: []string{grpcPath, protobufPath, genprotoPath, uuidPath}, noFiles: true, typed: true,
		why: "commands, results and client are what others see of the metadata service"},
	"s3sync/objstore": {level: 1, may: nouns, noFiles: true, typed: true,
		why: "an object store is an interface; what is behind it is chosen in cli"},
	"s3sync/objstore/dir": {level: 1, may: append([]string{"s3sync/objstore", "internal/vfs"}, nouns...),
		why: "a folder as an object store"},
	"s3sync/objstore/s3": {level: 1, may: append([]string{"s3sync/objstore"}, nouns...),
		third: []string{"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"},
		why:   "the S3 SDK stays in here"},

	// Level 2: what uses the level below it.
	"metadata/state": {level: 2, may: []string{"internal/block", "internal/invariant", "internal/mutant", "metadata", "metadata/metadatapb"},
		third: []string{protobufPath}, pure: true, typed: true,
		why: "every replica must reach the same state from the same log"},
	"metadata/placement": {level: 2, may: []string{"internal/block", "internal/invariant", "metadata", "metadata/metadatapb", "metadata/state"},
		pure: true, typed: true,
		why: "where copies go is decided by the state alone"},
	"segmentd": {level: 2, may: append([]string{"internal/boxcar", "internal/vfs", "wire", "logstore", "segmentd/segment", "segmentd/pull", "s3sync"}, nouns...),
		third: []string{syncPath}, noFiles: true, noClock: true, typed: true,
		why: "a segment daemon answers to whoever speaks wire; it is told of the metadata service through an interface of its own"},
	"volume/rmw": {level: 1, may: []string{"internal/block", "internal/invariant", "internal/mutant"}, pure: true, typed: true,
		why: "in which order sub-block writes take effect is a state machine: the simulator runs the same code"},
	"volume": {level: 2, may: append([]string{"internal/boxcar", "internal/pollset", "wire", "volume/quorum", "volume/pg", "volume/rmw", "metadata"}, nouns...),
		third: []string{syncPath}, noFiles: true, noClock: true, typed: true,
		why: "a virtual disk is quorum operations; it knows neither NBD nor logs"},
	"s3sync": {level: 2, may: append([]string{"s3sync/objstore"}, nouns...), third: []string{zstdPath}, noFiles: true, typed: true,
		why: "the backup format does not know what stores it"},
	"nbd": {level: 2, may: append([]string{"internal/boxcar"}, nouns...),
		third: []string{"github.com/pojntfx/go-nbd/pkg/protocol", unixPath}, typed: true,
		why: "the NBD server serves any Backend; cli connects it with volume"},
	"nbd/nbdtest": {level: 2, may: append([]string{"nbd"}, nouns...), third: testLibraries,
		why: "a Backend in memory for tests of whoever serves NBD"},

	// Level 3: running it.
	"metadata/raftnode": {level: 3, may: append([]string{"internal/vfs", "metadata", "metadata/metadatapb", "metadata/state", "metadata/placement"}, nouns...),
		third: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2", "go.etcd.io/bbolt",
			"github.com/hashicorp/go-hclog", "github.com/hashicorp/go-metrics", grpcPath, protobufPath, genprotoPath, zstdPath, uuidPath, syncPath, "golang.org/x/net/netutil"},
		typed: true,
		why:   "Raft stays in here; it runs on the real clock, so only leases and liveness read an injected one"},
	"cli": {level: 3, may: []string{everything},
		third: []string{"github.com/urfave/cli/v2", "github.com/pelletier/go-toml/v2", promPath, grpcPath, unixPath, syncPath, uuidPath},
		why:   "the one place that knows all parts, so that they need not know each other"},

	// Level 4: the program, and the whole system under test.
	".":                       {level: 4, may: []string{"cli", "internal/timerslack"}, why: "main only calls cli, and what must come before anything else"},
	"integration":             {level: 4, may: []string{everything}, third: testLibraries, why: "the whole system under test"},
	"integration/cluster":     {level: 4, may: nouns, third: []string{unixPath}, why: "daemons are started by their command lines, as a user does"},
	"integration/conformance": {level: 4, may: append([]string{"nbd", "nbd/nbdtest"}, nouns...), third: testLibraries, why: "an NBD server is judged from outside"},
	"integration/netns":       {level: 4, may: nouns, third: []string{unixPath}, why: "a network between processes knows addresses and packets only"},
	"integration/history":     {level: 4, third: testLibraries, why: "what clients have seen is judged by itself"},
	"integration/torture": {level: 4, may: append([]string{"integration/cluster", "integration/netns", "integration/history", "integration/stamp"}, nouns...), third: testLibraries,
		why: "a cluster is broken and judged from outside"},
	"integration/stamp":     {level: 4, may: nouns, third: []string{syncPath}, why: "the write checker shares no code with what it checks"},
	"integration/vm":        {level: 4, may: nouns, third: []string{unixPath}, why: "a virtual machine knows addresses only"},
	"integration/vm/attach": {level: 4, may: append([]string{"integration/cluster", "integration/vm"}, nouns...), third: testLibraries, why: "a real kernel attaches volumes of real processes"},
	"integration/bench":     {level: 4, may: append([]string{"integration/cluster"}, nouns...), third: []string{unixPath}, why: "what is measured is measured from outside"},
	"integration/bench/cmd": {level: 4, may: []string{"integration/bench", "integration/cluster"}, why: "the command behind make bench"},
	"integration/sim":       {level: 4, may: []string{everything}, third: testLibraries, why: "the simulator runs the real state machines"},
}
