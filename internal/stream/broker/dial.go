package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"sync"
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dial opens a connection, with TLS where the options ask for it. All of
// kafka-go's connections go through it.
func (b *Broker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// kafka-go authenticates without a deadline. Its ctx is for the time until
	// that is done, and is canceled then.
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = conn.Close()
		}
	})
	if b.opt.TLS == nil {
		return uncreating{conn}, nil
	}
	config := b.opt.TLS
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return uncreating{secure}, nil
}

// Kafka's metadata request (https://kafka.apache.org/protocol#The_Messages_Metadata)
// ends, in the version that kafka-go sends, with the byte that allows the
// broker to create the topics asked for.
const (
	metadataKey           = 3
	metadataCreateVersion = 4
	requestHeaderSize     = 4 + 2 + 2 // Length, API key, API version.
)

// uncreating keeps metadata requests from creating topics. kafka-go's Conn
// always allows that, and the leader of a consumer group sends one whenever
// its group rebalances: a topic that someone deletes would come back, empty
// and with the broker's defaults. kafka-go writes a metadata request in one
// piece unless it is larger than its buffer, which a single topic's is not.
type uncreating struct{ net.Conn }

func (c uncreating) Write(p []byte) (int, error) {
	if len(p) > requestHeaderSize &&
		int(binary.BigEndian.Uint32(p)) == len(p)-4 &&
		binary.BigEndian.Uint16(p[4:]) == metadataKey &&
		binary.BigEndian.Uint16(p[6:]) >= metadataCreateVersion &&
		binary.BigEndian.Uint16(p[6:]) <= 7 { // Later versions have more behind it.
		p = append([]byte(nil), p...)
		p[len(p)-1] = 0
	}
	return c.Conn.Write(p)
}

// readAheadSize is how much a connection that fetches reads at once. It is no
// more than what the heart sets aside in its memory for each feed's fetch.
const readAheadSize = 16 << 10

// readAhead reads from the network in larger pieces than kafka-go asks for,
// which are of 4 KiB: each is a call into the kernel, and these are a sixth of
// what it takes to read small records.
type readAhead struct {
	net.Conn
	ahead *bufio.Reader
}

func newReadAhead(conn net.Conn) readAhead {
	return readAhead{conn, bufio.NewReaderSize(conn, readAheadSize)}
}

// Read is for one goroutine at a time, as kafka-go's connections read.
func (c readAhead) Read(p []byte) (int, error) { return c.ahead.Read(p) }

// errCut is what a dial gets after cut.
var errCut = errors.New("the connections of this group are cut")

// connections keeps the open connections of one group, so that they can be
// cut: kafka-go waits for a join as long as its timeouts last, whatever
// happens to the one who waits.
type connections struct {
	dial dialFunc

	mu   sync.Mutex
	open map[*tracked]struct{}
	gone bool
}

func newConnections(dial dialFunc) *connections {
	return &connections{dial: dial, open: make(map[*tracked]struct{})}
}

func (c *connections) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errors.Join(errCut, conn.Close())
	}
	t := &tracked{Conn: conn, owner: c}
	c.open[t] = struct{}{}
	return t, nil
}

// cut closes what is open and refuses to open more.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for t := range c.open {
		_ = t.Conn.Close() // Whoever uses it gets the error.
	}
	clear(c.open)
}

// tracked is a connection that its owner knows.
type tracked struct {
	net.Conn
	owner *connections
}

func (t *tracked) Close() error {
	t.owner.mu.Lock()
	delete(t.owner.open, t)
	t.owner.mu.Unlock()
	return t.Conn.Close()
}
