package segmentd

import (
	"encoding/json"
	"path"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

const (
	// DefaultScrubEvery is how often all data is read (rule S1).
	DefaultScrubEvery = 7 * 24 * time.Hour
	// scrubStep is how much is read at once.
	scrubStep = 1 * block.MiB
	// scrubFloor is the least rate, a second, so that a small disk is done
	// within a day; scrubHaste is that of a pass that somebody waits for.
	scrubFloor = 1 * block.MiB
	scrubHaste = 64 * block.MiB
	// A step that would meet other work waits for giveWay, at most
	// giveWayTimes in turn.
	giveWay      = 20 * time.Millisecond
	giveWayTimes = 25
	// scrubRest is how often is looked whether a pass is due, and healEvery
	// how often damage that could not be mended is tried again.
	scrubRest = time.Second
	healEvery = 10 * time.Second
	// saveEvery is how often progress is written down.
	saveEvery = time.Minute
)

// scrubFile keeps the progress, so that a restart goes on with the pass.
const scrubFile = "scrub.json"

// scrubFormat is the version of scrubFile.
//
//	1  the first
const scrubFormat = 1

// ScrubState is how far the scrubber is. It stands as JSON in scrub.json, which
// may be old by a minute, or missing: then something is read twice.
type ScrubState struct {
	Format  uint32           `json:"format"`
	Running bool             `json:"running"`
	Hasty   bool             `json:"hasty"` // somebody waits for this pass
	At      logstore.ScrubAt `json:"at"`
	Last    uint32           `json:"last_file"` // of this pass
	Done    block.ByteCount  `json:"done_bytes"`
	Found   int              `json:"found"`  // damaged places, in all passes
	Passes  int              `json:"passes"` // that came to an end
	Began   time.Time        `json:"began"`
	Ended   time.Time        `json:"ended"` // of the last pass that did

	// Left is what is still to be read, Next when the next pass begins if
	// none is running; both are made up when they are asked for.
	Left block.ByteCount `json:"-"`
	Next time.Time       `json:"-"`
}

// due tells whether a pass is to begin.
func (s *ScrubState) due(now time.Time, every time.Duration) bool {
	return !s.Running && (s.Began.IsZero() || !now.Before(s.Began.Add(every)))
}

// begin starts a pass that ends with file last.
func (s *ScrubState) begin(now time.Time, last uint32, hasty bool) {
	s.Running, s.Hasty, s.At, s.Last, s.Done, s.Began = true, hasty, logstore.ScrubAt{}, last, 0, now.Round(0).UTC()
}

// took counts a step, and ends the pass with the last one.
func (s *ScrubState) took(now time.Time, r logstore.Scrubbed) {
	s.At, s.Done, s.Found = r.Next, s.Done+r.Bytes, s.Found+r.Found
	if r.Done {
		s.Running, s.Hasty, s.Passes, s.Ended = false, false, s.Passes+1, now.Round(0).UTC()
	}
}

// pause is how long to wait before the next step: so that what is left takes
// the rest of the time of this pass, but no less than the floor.
func (s *ScrubState) pause(now time.Time, left block.ByteCount, every time.Duration) time.Duration {
	if s.Hasty {
		return time.Second / time.Duration(scrubHaste/scrubStep)
	}
	rest := s.Began.Add(every).Sub(now)
	steps := time.Duration(left/scrubStep + 1)
	return max(time.Millisecond, min(rest/steps, time.Duration(scrubStep/scrubFloor)*time.Second))
}

// scrubber reads all that is on the disk, again and again, and has mended what
// it finds, and what reads have found. Its state is shown while it works.
type scrubber struct {
	s     *Server
	every time.Duration // 0: it only mends
	now   chan struct{} // a pass is to begin at once
	heal  chan struct{} // damage was found

	saved  time.Time
	healed time.Time
	rounds int // of mending
	mu     struct {
		sync.Mutex
		state ScrubState
	}
}

func newScrubber(s *Server, every time.Duration) *scrubber {
	return &scrubber{s: s, every: every, now: make(chan struct{}, 1), heal: make(chan struct{}, 1)}
}

// ScrubNow begins a pass over all data now, if none is under way, and has one
// that is under way make haste.
func (s *Server) ScrubNow() { s.wake(s.scrubber.now) }

// Scrub is how far the scrubber is.
func (s *Server) Scrub() ScrubState {
	c := s.scrubber
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.mu.state
	switch {
	case s.store == nil:
	case state.Running:
		state.Left = s.store.ScrubLeft(state.At, state.Last)
	case c.every > 0 && !state.Began.IsZero():
		state.Next = state.Began.Add(c.every)
	}
	return state
}

// run works until the daemon ends.
func (c *scrubber) run() {
	if c.s.store == nil {
		return
	}
	c.load()
	timer := c.s.clock.NewTimer(scrubRest)
	defer timer.Stop()
	for {
		select {
		case <-c.s.ctx.Done():
			c.save()
			return
		case <-c.now:
			c.begin(true)
		case <-c.heal:
			c.mend()
		case <-timer.C():
			c.begin(false)
			c.step()
		}
		timer.Reset(c.pause())
	}
}

// begin starts a pass if one is due, or asked for.
func (c *scrubber) begin(asked bool) {
	now := c.s.clock.Now()
	c.mu.Lock()
	state := &c.mu.state
	switch {
	case asked && state.Running:
		state.Hasty = true
	case asked || c.every > 0 && state.due(now, c.every):
		state.begin(now, c.s.store.ScrubEnd(), asked)
	default:
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.s.log.Info("scrub begins", "asked", asked, "bytes", c.s.Scrub().Left.String())
	c.save()
}

// step reads a piece, when there is nothing else to be done on the disk.
func (c *scrubber) step() {
	now := c.s.clock.Now()
	if now.Sub(c.healed) >= healEvery {
		c.mend()
	}
	c.mu.Lock()
	state := c.mu.state
	c.mu.Unlock()
	if !state.Running || c.s.Failed() != nil || !c.quiet() {
		return
	}
	r, err := c.s.store.Scrub(state.At, state.Last, scrubStep)
	if err != nil {
		return // the file went away meanwhile, or all does
	}
	c.mu.Lock()
	c.mu.state.took(c.s.clock.Now(), r)
	state = c.mu.state
	c.mu.Unlock()
	if r.Found > 0 {
		c.mend()
	}
	if r.Done {
		c.s.log.Info("scrub ended", "bytes", state.Done.String(), "found_ever", state.Found)
	}
	if r.Done || now.Sub(c.saved) >= saveEvery {
		c.save()
	}
}

// quiet waits a moment for others to be done with the disk, but not for ever;
// false when the daemon ends.
func (c *scrubber) quiet() bool {
	for range giveWayTimes {
		if c.s.store.Stats().Queued == 0 && c.s.store.Flushing() == 0 && !c.s.diskReads.busy() {
			return true
		}
		select {
		case <-c.s.ctx.Done():
			return false
		case <-c.s.clock.After(giveWay):
		}
	}
	return true
}

func (c *scrubber) pause() time.Duration {
	state := c.s.Scrub()
	if !state.Running {
		return scrubRest
	}
	return state.pause(c.s.clock.Now(), state.Left, c.every)
}

// load goes on where the daemon's last life was; a file that is not there, or
// not understood, is a beginning.
func (c *scrubber) load() {
	raw, err := readFile(c.s.cfg.FS, path.Join(c.s.cfg.Dir, scrubFile))
	if err != nil {
		return
	}
	var state ScrubState
	if json.Unmarshal(raw, &state) != nil || state.Format != scrubFormat {
		c.s.log.Warn("progress of the scrub is not understood and begins anew", "file", scrubFile)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.state = state
}

// save writes the progress down; on a full or failed disk it is lost.
func (c *scrubber) save() {
	c.saved = c.s.clock.Now()
	if c.s.Failed() != nil {
		return
	}
	c.mu.Lock()
	c.mu.state.Format = scrubFormat
	raw, err := json.MarshalIndent(&c.mu.state, "", "  ")
	c.mu.Unlock()
	name := path.Join(c.s.cfg.Dir, scrubFile)
	if err == nil {
		err = writeFile(c.s.cfg.FS, name+".new", append(raw, '\n'))
	}
	if err == nil {
		err = c.s.cfg.FS.Rename(name+".new", name)
	}
	if err != nil {
		c.s.log.Debug("progress of the scrub cannot be written", "err", err)
	}
}
