//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stage is all that takes part.
type stage struct {
	dir     string
	api     string
	timing  timing
	ports   *ports
	to      []destination
	tools   tools
	broker  *broker
	client  *kgo.Client
	braze   []*simulated
	workers []*worker
}

// worker is one worker's process and its proxies.
type worker struct {
	process *process
	// kafka is nil with the embedded broker; braze has one for each target.
	kafka *link
	braze []*link
	// ending says that the process is being ended on purpose.
	ending atomic.Bool
	// page is where it tells how it is.
	page string
}

func (w *worker) links() []*link {
	if w.kafka == nil {
		return w.braze
	}
	return append([]*link{w.kafka}, w.braze...)
}

// start starts everything but the workers.
func (s *stage) start(ctx context.Context, jars string, seed uint64) error {
	var err error
	if jars == "" {
		s.broker, err = startEmbedded(ctx, s.tools.self, s.dir)
	} else {
		s.broker, err = startApache(ctx, s.ports, jars, s.dir)
	}
	if err != nil {
		return err
	}
	s.client, err = kgo.NewClient(kgo.SeedBrokers(s.broker.address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 200 * time.Millisecond }))
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	for _, name := range []string{topic, deadLetters} {
		if err := createTopic(ctx, s.client, name); err != nil {
			return err
		}
	}
	proxies := newProxies()
	for i, d := range s.to {
		b, err := startBraze(ctx, s.tools.brazesim, s.dir, d.slug, seed+uint64(i))
		if err != nil {
			return err
		}
		s.braze = append(s.braze, b)
	}
	for i := range workers {
		if err := s.addWorker(ctx, proxies, i); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) addWorker(ctx context.Context, proxies *toxiproxy.ApiServer, i int) error {
	name := workerName(i)
	w := &worker{process: &process{
		name: name, program: s.tools.workers[i], log: filepath.Join(s.dir, name+".log"),
		env: []string{"PARTNER_KEY=" + partnerSecret, "API_KEY=" + apiSecret},
	}}
	kafka := s.broker.address
	if s.broker.apache != nil {
		l, err := newLink(proxies, name+" and Kafka", true, s.broker.advertised[i], s.broker.listeners[i])
		if err != nil {
			return err
		}
		w.kafka, kafka = l, l.address()
	}
	var endpoints []string
	for j, b := range s.braze {
		at, err := s.ports.free(ctx)
		if err != nil {
			return err
		}
		l, err := newLink(proxies, name+" and "+s.to[j].name, false, at, b.address[len("http://"):])
		if err != nil {
			return err
		}
		w.braze = append(w.braze, l)
		endpoints = append(endpoints, "http://"+l.address())
	}
	listen, err := s.ports.free(ctx)
	if err != nil {
		return err
	}
	w.page = "http://" + listen + "/readyz"
	file := filepath.Join(s.dir, name+".yaml")
	w.process.args = []string{"run", "--config", file}
	s.workers = append(s.workers, w)
	return configure(file, kafka, s.api, listen, s.timing, s.to, endpoints)
}

// close ends everything at once.
func (s *stage) close() error {
	var all []error
	for _, w := range s.workers {
		w.ending.Store(true)
		all = append(all, w.process.kill())
		for _, l := range w.links() {
			all = append(all, l.cut())
		}
	}
	for _, b := range s.braze {
		all = append(all, b.process.kill())
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.broker != nil {
		all = append(all, s.broker.close())
	}
	return errors.Join(all...)
}

func createTopic(ctx context.Context, client *kgo.Client, name string) error {
	ask := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = name, partitions, 1
	ask.Topics, ask.TimeoutMillis = append(ask.Topics, one), 10_000
	answer, err := ask.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("creating the topic %s: %w", name, err)
	}
	if code := answer.Topics[0].ErrorCode; code != 0 {
		return fmt.Errorf("creating the topic %s: error %d", name, code)
	}
	return nil
}

// refuseLetters makes Kafka refuse whatever is written to the dead-letter
// topic, or take it again: it asks for more replicas in sync than there are.
func (s *stage) refuseLetters(ctx context.Context, refuse bool) error {
	ask := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeTopic, deadLetters
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "min.insync.replicas", new("1")
	if refuse {
		c.Value = new("2")
	}
	of.Configs = append(of.Configs, c)
	ask.Resources = append(ask.Resources, of)
	answer, err := ask.RequestWith(ctx, s.client)
	if err != nil {
		return fmt.Errorf("changing the dead-letter topic: %w", err)
	}
	if code := answer.Resources[0].ErrorCode; code != 0 {
		return fmt.Errorf("changing the dead-letter topic: error %d", code)
	}
	return nil
}
