package raftnode

import (
	"context"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// Bounds of the API's server.
const (
	connectionsMax = 4096
	streamsMax     = 1024 // calls under way on one connection
	helloTimeout   = 10 * time.Second
	// keepaliveEvery is how often an idle connection is probed;
	// keepaliveShortest how often a client may probe.
	keepaliveEvery    = 30 * time.Second
	keepaliveTimeout  = 10 * time.Second
	keepaliveShortest = 5 * time.Second
)

// server answers the API's calls. Each method reads and checks the request,
// then calls what the Node knows to do.
type server struct {
	pb.UnimplementedMetadataServer
	*Node
}

// serve begins to answer. gRPC's goroutines end with Close.
func (n *Node) serve() {
	n.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(metadata.MaxRequestBytes),
		grpc.MaxSendMsgSize(metadata.MaxReplyBytes),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveShortest, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(withKinds),
		grpc.WaitForHandlers(true),
	)
	pb.RegisterMetadataServer(n.grpc, &server{Node: n})
	state := health.NewServer()
	healthpb.RegisterHealthServer(n.grpc, state)
	reflection.Register(n.grpc)
	n.wg.Go(func() {
		if err := n.grpc.Serve(netutil.LimitListener(n.api, connectionsMax)); err != nil {
			n.fail(err)
		}
	})
	n.wg.Go(func() {
		select {
		case <-n.background.Done():
		case <-n.failed:
		}
		state.Shutdown()
	})
}

// withKinds gives errors their kinds for the way over the wire.
func withKinds(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	reply, err := handle(ctx, req)
	if err != nil {
		return nil, metadata.ToStatus(err)
	}
	return reply, nil
}
