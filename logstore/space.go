package logstore

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
)

// SpaceLevel says how full a store is, by its live bytes: dead ones come back
// by cleaning. Levels ascend.
type SpaceLevel uint8

// The levels of a store.
const (
	// SpaceOK: all goes.
	SpaceOK SpaceLevel = iota
	// SpaceNoSegments: from 75 % live on no new segment is made, so that
	// those that are there can grow.
	SpaceNoSegments
	// SpaceWarn: from 80 % live on cleaning costs more than the writes that
	// it makes room for; the operator is to be told.
	SpaceWarn
	// SpaceFull: from 90 % live on clients' writes are to be refused by who
	// takes them in. The log takes them still, as long as there are files
	// beyond the reserve: what was numbered before the refusal must find
	// room, since the trims that give space back are chained behind it.
	SpaceFull
)

var spaceLevelNames = [...]string{"ok", "no-new-segments", "warn", "full"}

func (l SpaceLevel) String() string {
	if int(l) < len(spaceLevelNames) {
		return spaceLevelNames[l]
	}
	return fmt.Sprintf("level-%d", uint8(l))
}

// spaceLimits are from how many percent of live bytes on a level holds.
var spaceLimits = [...]block.ByteCount{SpaceOK: 0, SpaceNoSegments: 75, SpaceWarn: 80, SpaceFull: 90}

// spaceSlack is by how many percent the live bytes must fall below a limit
// before its level is left, so that a store at a limit does not flicker.
const spaceSlack = 1

// Space is where a store's bytes are. Live, Dead, Reserved and Free make
// Capacity together, unless files of a former, larger capacity exceed it.
type Space struct {
	// Capacity is what log files may take: the setting, or less if the file
	// system has less.
	Capacity block.ByteCount
	// Live is in blocks that can still be read.
	Live block.ByteCount
	// Dead is in what was written and counts no more, headers included.
	Dead block.ByteCount
	// Reserved is kept for the cleaner and for records without payload: the
	// reserve, and the file that cleaning fills.
	Reserved block.ByteCount
	// Free can be written without cleaning.
	Free  block.ByteCount
	Level SpaceLevel
}

// levelOf is the level of s, if it was that before.
func (s *Space) levelOf(was SpaceLevel) SpaceLevel {
	usable := s.Capacity - min(s.Capacity, s.Reserved)
	for l := SpaceFull; l > SpaceOK; l-- {
		limit := spaceLimits[l]
		if l <= was {
			limit -= spaceSlack
		}
		if usable == 0 || s.Live*100 >= usable*limit {
			return l
		}
	}
	return SpaceOK
}

// taker is who asks for a log file.
type taker uint8

const (
	takeClient  taker = iota // records with payload
	takeCleaner              // what cleaning moves
	takeControl              // records without payload, configurations
)

const (
	// reserveFiles is how many files only the cleaner and control records
	// may take, on a disk of many files.
	reserveFiles = 4
	// reserveShare is which part of a disk of few files the reserve takes
	// at most.
	reserveShare = 8
)

// reserveOf is how many of a store's files are reserved.
func reserveOf(files int) int { return min(reserveFiles, files/reserveShare) }

// mayTake decides whether a file may be taken when that many are free: clients
// leave the reserve alone, the cleaner leaves a quarter of it to control
// records, without which a full disk could be neither fenced nor trimmed.
func (t taker) mayTake(free, reserve int) bool {
	switch t {
	case takeClient:
		return free > reserve
	case takeCleaner:
		return free > (reserve+3)/4
	}
	return free > 0
}

// figures are what a Space is computed from.
type figures struct {
	capacity block.ByteCount
	fileSize block.ByteCount
	written  block.ByteCount // of log files, up to the end of each
	live     block.ByteCount
}

// space says where the bytes of a store are.
func (f figures) space(was SpaceLevel) Space {
	s := Space{Capacity: f.capacity, Live: f.live, Dead: f.written - min(f.written, f.live)}
	if n := reserveOf(int(f.capacity / f.fileSize)); n > 0 {
		s.Reserved = block.ByteCount(n+1) * f.fileSize // and the open file of the cold log
	}
	used := s.Live + s.Dead + s.Reserved
	s.Free = s.Capacity - min(s.Capacity, used)
	s.Level = s.levelOf(was)
	return s
}

// Space tells where the bytes of the store are, and how full it is. It takes
// some microseconds, more if there are many files.
func (s *Store) Space() Space {
	f := figures{fileSize: s.cfg.FileSize, live: block.ByteCount(s.ledger.total.Load()) * block.Size}
	for _, file := range s.files.Load().all {
		f.written += pageNo(file.end.Load()).bytes()
	}
	f.capacity = s.filer.limit()
	sp := f.space(SpaceLevel(s.level.Load()))
	s.level.Store(uint32(sp.Level))
	return sp
}
