package history

import "slices"

// Checker judges a history chapter by chapter.
type Checker struct {
	blocks map[Block]*carried
}

// carried is what is known of a block between two chapters.
type carried struct {
	// value is what the block held at the end of the chapter.
	value Value
	// maybe are writes that nobody has acknowledged or read.
	maybe []Op
}

// maxViolations bounds what a chapter tells.
const maxViolations = 20

// NewChecker begins with blocks of zeroes.
func NewChecker() *Checker { return &Checker{blocks: map[Block]*carried{}} }

// Chapter judges the operations since the chapter before. There are no others
// in flight, and for each block in it the chapter ends with a read that began
// after the end of all others but maybes; last is that value of each block. It
// gives at most maxViolations.
func (k *Checker) Chapter(ops []Op) (wrong []Violation) { return k.judge(ops, k.chapterOf) }

// Broken judges what there is of a chapter that was broken off. It is the last.
func (k *Checker) Broken(ops []Op) (wrong []Violation) {
	return k.judge(ops, func(b Block, ops []Op) *Violation {
		c := k.carried(b)
		return checkRegister(b, c.value, append(slices.Clone(c.maybe), ops...))
	})
}

func (k *Checker) judge(ops []Op, judge func(Block, []Op) *Violation) (wrong []Violation) {
	byBlock := map[Block][]Op{}
	for _, o := range ops {
		byBlock[o.Block] = append(byBlock[o.Block], o)
	}
	blocks := make([]Block, 0, len(byBlock))
	for b := range byBlock {
		blocks = append(blocks, b)
	}
	slices.Sort(blocks)
	for _, b := range blocks {
		if v := judge(b, byBlock[b]); v != nil && len(wrong) < maxViolations {
			wrong = append(wrong, *v)
		}
	}
	return wrong
}

func (k *Checker) carried(b Block) *carried {
	c := k.blocks[b]
	if c == nil {
		c = &carried{}
		k.blocks[b] = c
	}
	return c
}

func (k *Checker) chapterOf(b Block, ops []Op) *Violation {
	c := k.carried(b)
	ops = append(slices.Clone(c.maybe), ops...)
	if v := checkRegister(b, c.value, ops); v != nil {
		return v
	}
	last := -1
	read := map[Value]bool{}
	for i, o := range ops {
		if !o.Write {
			read[o.Value] = true
			if last < 0 || o.Begin > ops[last].Begin {
				last = i
			}
		}
	}
	if last < 0 {
		return &Violation{b, "its last chapter does not end with a read: the test is wrong", nil}
	}
	c.value, c.maybe = ops[last].Value, nil
	for _, o := range ops {
		switch {
		case o.End == Never && !read[o.Value]:
			c.maybe = append(c.maybe, o)
		case o.End != Never && o != ops[last] && o.End > ops[last].Begin:
			return &Violation{b, "its last read has company: the test is wrong", []Op{ops[last], o}}
		}
	}
	return nil
}

// Maybes counts the writes that may still take effect.
func (k *Checker) Maybes() (n int) {
	for _, c := range k.blocks {
		n += len(c.maybe)
	}
	return n
}
