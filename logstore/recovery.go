package logstore

// ending is what a walk of a log file finds where the next frame is not.
type ending struct {
	sealed bool // another file follows this one, and says where it ended
	atEnd  bool // sealed: here
	begun  bool // a frame was begun here: there is one that is not whole
	later  bool // a valid frame of this file stands further on
	whole  bool // the last batch before has all its payload
}

// verdict is what an ending means.
type verdict uint8

const (
	unreachable verdict = iota
	endOfFile           // go on with the next file
	endOfLog            // go on appending here
	tornHere            // a batch was being written when the power went; the log ends here
	tornLast            // so was the last one found: the log ends before it
	damagedGap          // frames are lost; go on at the later one
	damagedTail         // frames are lost; go on with the next file
)

func (v verdict) String() string {
	return [...]string{"unreachable", "end of file", "end of log", "torn here", "torn last", "damaged gap", "damaged tail"}[v]
}

// rule is a row of the decision table: want lists the conditions that matter.
type rule struct {
	name    string
	match   func(e ending) bool
	verdict verdict
}

// rules decide between the end of the log, a torn tail and damage (trap T14).
// Exactly one matches each ending.
//
// Since a batch is written only when the one before it is durable, only the
// last batch of the log can be torn, and whatever stands behind a batch
// proves it: a later frame, the beginning of a next one, a next file.
var rules = [...]rule{
	{"A: the file ends where its successor says", func(e ending) bool { return e.sealed && e.atEnd }, endOfFile},
	{"B: sealed, later frames prove what is missing", func(e ending) bool { return e.sealed && !e.atEnd && e.later }, damagedGap},
	{"C: sealed, its end is missing", func(e ending) bool { return e.sealed && !e.atEnd && !e.later }, damagedTail},
	{"D: later frames prove what is missing", func(e ending) bool { return !e.sealed && e.later }, damagedGap},
	{"E: a batch was begun, which proves the one before", func(e ending) bool { return !e.sealed && !e.later && e.begun }, tornHere},
	{"F: nothing was begun, the last batch is whole", func(e ending) bool { return !e.sealed && !e.later && !e.begun && e.whole }, endOfLog},
	{"G: nothing proves the last batch, and it is not whole", func(e ending) bool { return !e.sealed && !e.later && !e.begun && !e.whole }, tornLast},
}

func (e ending) decide() verdict {
	for i := range rules {
		if rules[i].match(e) {
			return rules[i].verdict
		}
	}
	return unreachable
}
