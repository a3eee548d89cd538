//go:build race

package logstore

// raceEnabled: all takes ten times as long.
const raceEnabled = true
