package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	fetchKey     = 1
	fetchVersion = 4 // The oldest that Kafka 4 answers; all since Kafka 0.11 know it.
)

// rawFetch is one fetch of one partition.
type rawFetch struct {
	partition int
	offset    int64
	maxBytes  int
	// wait is how long the broker may wait for something to send.
	wait time.Duration
	// committed leaves out what is not, or not yet, committed.
	committed bool
}

// rawAnswer is what the broker says to it.
type rawAnswer struct {
	// stable is the last stable offset: all transactions before it have ended.
	stable  int64
	aborted []abortedTransaction
	// set is the batches, of which the last may be cut.
	set []byte
}

// abortedTransaction is one whose records are in the answer and count for
// nothing.
type abortedTransaction struct{ producer, first int64 }

// fetchRaw asks and waits for the answer.
func (b *Broker) fetchRaw(conn net.Conn, f rawFetch) (rawAnswer, error) {
	if err := conn.SetDeadline(time.Now().Add(f.wait + b.opt.NetworkTimeout)); err != nil {
		return rawAnswer{}, fmt.Errorf("setting the deadline: %w", err)
	}
	if _, err := conn.Write(b.fetchRequest(f)); err != nil {
		return rawAnswer{}, fmt.Errorf("asking: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return rawAnswer{}, fmt.Errorf("reading the answer: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > fetchLimit {
		return rawAnswer{}, fmt.Errorf("reading the answer: it has %d bytes", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return rawAnswer{}, fmt.Errorf("reading the answer: %w", err)
	}
	return readAnswer(answer)
}

// fetchRequest is one whole request as it goes over the wire.
func (b *Broker) fetchRequest(f rawFetch) []byte {
	be := binary.BigEndian
	p := make([]byte, 4, 128)
	p = be.AppendUint16(p, fetchKey)
	p = be.AppendUint16(p, fetchVersion)
	p = be.AppendUint32(p, 0) // Correlation: one request a connection.
	p = appendString(p, b.opt.ClientID)
	p = be.AppendUint32(p, ^uint32(0)) // Replica -1: a consumer.
	p = be.AppendUint32(p, uint32(f.wait.Milliseconds()))
	p = be.AppendUint32(p, 1) // It waits for one byte.
	p = be.AppendUint32(p, uint32(f.maxBytes))
	if f.committed {
		p = append(p, 1)
	} else {
		p = append(p, 0)
	}
	p = be.AppendUint32(p, 1) // One topic,
	p = appendString(p, b.opt.Topic)
	p = be.AppendUint32(p, 1) // one partition.
	p = be.AppendUint32(p, uint32(f.partition))
	p = be.AppendUint64(p, uint64(f.offset))
	p = be.AppendUint32(p, uint32(f.maxBytes))
	be.PutUint32(p, uint32(len(p)-4))
	return p
}

func appendString(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(s))), s...)
}

var errShortAnswer = errors.New("the answer is cut short")

// reading takes an answer apart from its front; after its end it yields zeros
// and stays short.
type reading struct {
	p     []byte
	short bool
}

func (r *reading) take(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.short, r.p = true, nil
		return make([]byte, 8)
	}
	taken := r.p[:n]
	r.p = r.p[n:]
	return taken
}

func (r *reading) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reading) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reading) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

// readAnswer takes the answer to a fetch of one partition apart.
func readAnswer(answer []byte) (said rawAnswer, err error) {
	r := &reading{p: answer}
	r.int32()                            // Correlation.
	r.int32()                            // Throttle time.
	if r.int32() != 1 || len(r.p) == 0 { // Topics.
		return said, errShortAnswer
	}
	r.take(int(r.int16())) // Its name.
	if r.int32() != 1 {    // Partitions.
		return said, errShortAnswer
	}
	r.int32() // Its number.
	if code := r.int16(); code != 0 && !r.short {
		return said, kafka.Error(code)
	}
	r.int64() // High watermark.
	said.stable = r.int64()
	for range max(int(r.int32()), 0) { // Of transactions there are none at all below isolation level 1.
		if said.aborted = append(said.aborted, abortedTransaction{r.int64(), r.int64()}); r.short {
			return said, errShortAnswer
		}
	}
	said.set = r.take(max(int(r.int32()), 0))
	if r.short {
		return said, errShortAnswer
	}
	return said, nil
}
