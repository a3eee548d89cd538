package metadata

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// Bounds of the client's patience.
const (
	defaultTimeout = 30 * time.Second
	defaultAttempt = 5 * time.Second
	backoffFirst   = 10 * time.Millisecond
	backoffMax     = 500 * time.Millisecond
	// hopsMax bounds the redirects that are followed without a pause.
	hopsMax = 3
)

// Options of a Client. Zero values stand for the defaults.
type Options struct {
	// Timeout bounds a call whose context has no deadline (30 s).
	Timeout time.Duration
	// Attempt bounds one attempt of a call at one member (5 s).
	Attempt time.Duration
}

// Client calls the metadata service. It finds the leader among the members,
// follows it, and repeats calls that met no leader until the context ends.
// All methods may be called from any goroutine. Besides those named, every
// method may return the kinds Unavailable (no leader answered in time),
// Version (the other side is of another version) and Closed.
type Client struct {
	opts    Options
	session Session
	pool    *pool
}

// Dial makes a client for the members at addrs (HOST:PORT; some suffice, the
// others are found). It does not connect yet. Error kind: Invalid.
func Dial(addrs []string, opts Options) (*Client, error) {
	if len(addrs) == 0 {
		return nil, block.Errorf(block.Invalid, "no address of the metadata service was given")
	}
	if len(addrs) > knownMax {
		return nil, block.Errorf(block.Invalid, "%d addresses of the metadata service were given, more than %d", len(addrs), knownMax)
	}
	for _, a := range addrs {
		if err := CheckAddress("metadata address", a); err != nil {
			return nil, err
		}
	}
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Attempt <= 0 {
		opts.Attempt = defaultAttempt
	}
	return &Client{opts: opts, session: NewSession(), pool: newPool(addrs)}, nil
}

// Close ends all connections; calls under way fail. It is idempotent.
func (c *Client) Close() error { return c.pool.close() }

// method is a call of the generated client, as a method expression.
type method[Req, Reply any] func(pb.MetadataClient, context.Context, *Req, ...grpc.CallOption) (*Reply, error)

// call runs one method at the leader, wherever it is.
func call[Req, Reply any](ctx context.Context, c *Client, m method[Req, Reply], req *Req) (*Reply, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
	}
	reason := ""
	for attempt, hops := 0, 0; ; attempt++ {
		reply, err := callOnce(ctx, c, m, req)
		var redirect *Redirect
		if err != nil && reason != "" && errors.Is(err, context.DeadlineExceeded) {
			return nil, c.gaveUp(err, reason) // what came before tells more than "no answer in time"
		}
		if err == nil || !errors.As(err, &redirect) {
			return reply, err
		}
		reason = redirect.Reason
		if redirect.Leader != "" && hops < hopsMax {
			hops++
			continue
		}
		hops = 0
		if waitErr := pause(ctx, attempt); waitErr != nil {
			return nil, c.gaveUp(waitErr, reason)
		}
	}
}

// gaveUp is the error of a call whose time ended with cause, after attempts of
// which the last said reason.
func (c *Client) gaveUp(cause error, reason string) error {
	return block.Wrap(block.Unavailable, cause, "metadata service: no leader answered (tried %v); last: %s", c.pool.addresses(), reason)
}

// callOnce makes one attempt. An error that another attempt may cure is a
// *Redirect; its Leader, if any, is where the next attempt goes.
func callOnce[Req, Reply any](ctx context.Context, c *Client, m method[Req, Reply], req *Req) (*Reply, error) {
	addr, conn, err := c.pool.pick()
	if err != nil {
		return nil, err
	}
	attemptCtx, cancel := context.WithTimeout(ctx, c.opts.Attempt)
	defer cancel()
	reply, err := m(pb.NewMetadataClient(conn), attemptCtx, req)
	if err == nil {
		c.pool.works(addr)
		return reply, nil
	}
	err = FromStatus(err)
	if ctx.Err() == nil && attemptCtx.Err() != nil {
		err = &Redirect{Reason: addr + " did not answer in " + c.opts.Attempt.String()}
	}
	var redirect *Redirect
	if errors.As(err, &redirect) {
		c.pool.fails(addr, redirect.Leader)
	}
	return nil, err
}

// pause waits before attempt+1: twice as long each time up to backoffMax,
// times a random factor from 0.5 to 1.5, so that clients do not come in step.
func pause(ctx context.Context, attempt int) error {
	d := min(backoffFirst<<min(attempt, 10), backoffMax)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
