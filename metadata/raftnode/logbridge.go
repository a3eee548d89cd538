package raftnode

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// bridge gives Raft a logger that writes to ours. Raft's Info tells of each
// step of an election and of each snapshot; it becomes Debug here, and its
// errors, nearly all of them a peer that is away, become Warn.
func bridge(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(sink{to})
	return l
}

type sink struct{ to *slog.Logger }

func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	at := slog.LevelDebug
	if level >= hclog.Warn {
		at = slog.LevelWarn
	}
	if level <= hclog.Debug || !s.to.Enabled(context.Background(), at) {
		return
	}
	//nolint:sloglint // the message is that of another logger
	s.to.Log(context.Background(), at, msg, append([]any{"from", name}, args...)...)
}
