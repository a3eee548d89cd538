package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/integration/history"
	"github.com/sextantdisk/sextant/internal/block"
)

// Config says what to run.
type Config struct {
	// Seed makes the plan; For is how long chapters begin.
	Seed uint64
	For  time.Duration
	// Chapter is how long a chapter's faults begin (default 20 s).
	Chapter time.Duration
	// Binary is the program; Dir, an empty folder, is for all that a run
	// makes, and is left to the caller; Small is a folder in the file system
	// that is to be full now and then.
	Binary, Dir, Small string
	// Say is told what happens.
	Say func(format string, args ...any)
}

const (
	defaultChapter = 20 * time.Second
	// stallMax is how long no client may get any answer in a chapter within
	// what is promised. It is far above what it takes, for machines that are
	// busy with other things.
	stallMax = 30 * time.Second
	// backMax is how soon clients get answers, and copies are complete, after
	// all was mended.
	backMax = 2 * time.Minute
)

// Summary counts what a run did.
type Summary struct {
	Chapters, Events              int
	Writes, Reads, Failed, Broken int64
	// Ops are writes and reads of single blocks that were judged; Windows
	// those that porcupine was asked about.
	Ops, Windows int
	// Maybes are writes that nobody ever learned the fate of.
	Maybes int
	// LongestStall is that of chapters within what is promised.
	LongestStall time.Duration
}

// runner is a run.
type runner struct {
	cfg     Config
	world   *World
	load    *load
	planner planner
	checker *history.Checker
	sum     Summary
	log     *os.File
}

// Run tortures a cluster. An error tells what was lost, or what else went
// wrong; Dir then holds what is to be known about it. Error kinds: Corrupt (the
// history is wrong), Unavailable (what should go on did not).
func Run(ctx context.Context, cfg Config) (Summary, error) {
	if cfg.Chapter == 0 {
		cfg.Chapter = defaultChapter
	}
	log, err := os.Create(filepath.Join(cfg.Dir, "torture.log"))
	if err != nil {
		return Summary{}, block.Wrap(block.Unavailable, err, "the log of what is done")
	}
	defer log.Close()
	w, err := NewWorld(cfg.Seed, cfg.Binary, cfg.Dir, cfg.Small)
	if err != nil {
		return Summary{}, err
	}
	r := &runner{cfg: cfg, world: w, load: newLoad(w, cfg.Seed), planner: planner{seed: cfg.Seed}, checker: history.NewChecker(), log: log}
	err = w.Start(ctx)
	start := time.Now()
	for err == nil && time.Since(start) < cfg.For {
		c := r.planner.next(cfg.Chapter)
		if err = r.chapter(ctx, c); err != nil {
			err = fmt.Errorf("chapter %d: %w", c.Number, err)
		}
	}
	r.sum.Maybes = r.checker.Maybes()
	return r.sum, errors.Join(err, w.Close())
}

// say tells the caller and the log.
func (r *runner) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(r.log, time.Now().UTC().Format("15:04:05.000"), line)
	r.cfg.Say("%s", line)
}

// chapter carries out one chapter and judges it.
func (r *runner) chapter(ctx context.Context, c Chapter) error {
	for _, line := range strings.Split(strings.TrimSpace(c.String()), "\n") {
		r.say("%s", line)
	}
	used := min(firstGroups+c.Number*newGroups, groups)
	r.load.used.Store(int64(used))
	r.load.front.Store(int64(c.Front))
	err := r.faults(ctx, c)
	r.say("mended, and clients get answers; all is read")
	if err == nil {
		err = r.readAll(ctx, used)
	}
	ops := r.load.log.Take()
	r.say("%d operations are judged", len(ops))
	check := r.checker.Chapter
	if err != nil {
		check = r.checker.Broken
	}
	err = errors.Join(err, r.judge(ops, check))
	r.say("judged; copies become complete")
	if err == nil {
		err = r.world.settle(ctx, backMax)
	}
	if err == nil {
		r.say("complete; copies are compared")
		err = r.world.compareCopies(ctx, backMax)
	}
	n := &r.load.counts
	r.sum.Chapters++
	r.sum.Events += len(c.Events)
	r.sum.Ops += len(ops)
	r.sum.Writes, r.sum.Reads, r.sum.Failed, r.sum.Broken = n.writes.Load(), n.reads.Load(), n.failed.Load(), n.broken.Load()
	r.say("chapter %d is over: %+v, %+v", c.Number, r.sum, r.world.Net.Stats())
	return err
}

// faults lets clients work while the plan is carried out, and a little longer:
// until some have got answers after all was mended.
func (r *runner) faults(ctx context.Context, c Chapter) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	var loadErr error
	load.Go(func() { loadErr = r.load.run(working, c.Number) })
	var watch sync.WaitGroup
	var stall time.Duration
	watch.Go(func() { stall = r.longestStall(working) })

	b := &breaker{world: r.world, moveTo: r.load.moveTo, say: r.say}
	err := b.run(ctx, c)
	if err == nil {
		err = r.goesOn(ctx)
	}
	stop()
	load.Wait()
	watch.Wait()
	if !c.Beyond && err == nil && loadErr == nil {
		r.sum.LongestStall = max(r.sum.LongestStall, stall)
		if stall > stallMax {
			err = block.Errorf(block.Unavailable, "no client got any answer for %v, though no more was broken than promised", stall)
		}
	}
	return errors.Join(err, loadErr)
}

// tellStall is how long nobody may get an answer before it is told.
const tellStall = 2 * time.Second

// longestStall measures how long nobody gets an answer, until ctx ends.
func (r *runner) longestStall(ctx context.Context) (longest time.Duration) {
	var stall time.Duration
	for pause(ctx, 50*time.Millisecond) == nil {
		now := time.Since(time.Unix(0, r.load.lastDone.Load()))
		if now < stall && stall > tellStall {
			r.say("nobody had an answer for %v", stall)
		}
		stall = now
		longest = max(longest, stall)
	}
	return longest
}

// goesOn waits until writes and reads were answered that began after now.
func (r *runner) goesOn(ctx context.Context) error {
	n := &r.load.counts
	// Those in flight may be answered yet: more than there can be.
	writes, reads := n.writes.Load()+clients*depth, n.reads.Load()+clients*depth
	for end := time.Now().Add(backMax); n.writes.Load() < writes || n.reads.Load() < reads; {
		if r.load.full.Load() {
			return nil
		}
		if time.Now().After(end) {
			return block.Errorf(block.Unavailable, "%v after all was mended only %d writes and %d reads were answered, want %d and %d", backMax, n.writes.Load(), n.reads.Load(), writes, reads)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads all that was ever used; nothing else is in flight.
func (r *runner) readAll(ctx context.Context, used int) error {
	end := time.Now().Add(backMax)
	buf := make([]byte, requestMax*block.Size)
	for g := range used {
		for i := 0; i < groupBlocks; i += requestMax {
			if err := r.readOne(ctx, end, wholeBlocks, blocksOf(g)+block.Offset(i*block.Size), buf); err != nil {
				return err
			}
		}
		if err := r.readOne(ctx, end, sectors, sectorsOf(g), buf[:sectorBlocks*block.Size]); err != nil {
			return err
		}
	}
	r.load.abandon(func(int) bool { return true })
	return nil
}

// readOne reads until it succeeds.
func (r *runner) readOne(ctx context.Context, end time.Time, u unit, at block.Offset, p []byte) error {
	for {
		conn, err := r.load.connection(ctx, 0)
		if err == nil {
			err = r.load.read(conn, 0, u, at, p)
		}
		if err == nil {
			return nil
		}
		if conn != nil && errors.Is(err, block.Closed) {
			r.load.gone(0, conn)
		}
		if time.Now().After(end) {
			return fmt.Errorf("reading all at the end of the chapter: %w", err)
		}
		if err := pause(ctx, dialWait); err != nil {
			return err
		}
	}
}

// opinions is how many blocks porcupine is asked about in each chapter: those
// that were used most.
const opinions = 24

// judge judges a chapter's history, and keeps what is wrong.
func (r *runner) judge(ops []history.Op, check func([]history.Op) []history.Violation) error {
	var found strings.Builder
	r.load.mu.Lock()
	for _, w := range r.load.mu.wrong {
		fmt.Fprintln(&found, w)
	}
	r.load.mu.Unlock()
	byBlock := map[history.Block][]history.Op{}
	for _, o := range ops {
		byBlock[o.Block] = append(byBlock[o.Block], o)
	}
	told := map[history.Block]bool{}
	for _, v := range check(ops) {
		told[v.Block] = true
		fmt.Fprintln(&found, v)
		r.keep(fmt.Sprintf("history-of-block-%d.txt", v.Block), func(w io.Writer) error {
			for _, o := range byBlock[v.Block] {
				fmt.Fprintln(w, o)
			}
			return nil
		})
		r.second(v.Block, byBlock[v.Block], &found)
	}
	for _, b := range busiest(byBlock, opinions) {
		if !told[b] {
			r.second(b, byBlock[b], &found)
		}
	}
	if found.Len() > 0 {
		return block.Errorf(block.Corrupt, "the history is wrong:\n%s", found.String())
	}
	return nil
}

// second asks porcupine about a block, and keeps its pictures.
func (r *runner) second(b history.Block, ops []history.Op, found io.Writer) {
	o := history.SecondOpinion(ops)
	r.sum.Windows += o.Windows
	for i, w := range o.Bad {
		fmt.Fprintf(found, "block %d: porcupine finds no order in a window of %d operations\n", b, len(w.Ops))
		r.keep(fmt.Sprintf("block-%d-window-%d.html", b, i), w.Picture)
	}
}

// keep writes a file into the run's folder.
func (r *runner) keep(name string, write func(io.Writer) error) {
	f, err := os.Create(filepath.Join(r.cfg.Dir, name))
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		r.say("%s cannot be kept: %v", name, err)
	}
}
