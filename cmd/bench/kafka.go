package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

// kafkaCmd is the broker's process: kfake, its data in a folder, for it keeps
// far less in memory so.
type kafkaCmd struct {
	Dir string `required:"" type:"path" help:"Where it keeps its data."`
}

// Run prints the broker's address and serves until ctx ends.
func (cmd kafkaCmd) Run(ctx context.Context, out io.Writer) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(cmd.Dir),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": strconv.Itoa(0)}))
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	defer cluster.Close()
	fmt.Fprintln(out, cluster.ListenAddrs()[0])
	<-ctx.Done()
	return nil
}
