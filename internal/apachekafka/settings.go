//go:build unix

package apachekafka

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	clusterID   = "Y29ob3J0c3luYy1jbHVzdA"
	logSettings = "log4j2.yaml"
	controller  = "CONTROLLER"
)

// quietLog keeps the broker's log to what matters when something is wrong.
const quietLog = `Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: {pattern: "%d %-5p %c %m%n"}
  Loggers:
    Root:
      level: WARN
      AppenderRef: [{ref: STDOUT}]
`

// write writes the server's properties and how it logs.
func (o Options) write(file string) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("making the broker's folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, logSettings), []byte(quietLog), 0o600); err != nil {
		return fmt.Errorf("writing how the broker logs: %w", err)
	}
	all := o.properties()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s=%s\n", name, all[name])
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing the broker's properties: %w", err)
	}
	return nil
}

// properties are those of one node that is all of its cluster.
func (o Options) properties() map[string]string {
	listeners := []string{controller + "://" + o.Controller}
	protocols := []string{controller + ":PLAINTEXT"}
	var advertised []string
	for _, l := range o.Listeners {
		to := l.Advertised
		if to == "" {
			to = l.Address
		}
		listeners = append(listeners, l.Name+"://"+l.Address)
		advertised = append(advertised, l.Name+"://"+to)
		protocols = append(protocols, l.Name+":PLAINTEXT")
	}
	all := map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"controller.quorum.voters":       "1@" + o.Controller,
		"controller.listener.names":      controller,
		"listeners":                      strings.Join(listeners, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
		"inter.broker.listener.name":     o.Listeners[0].Name,
		"log.dirs":                       filepath.Join(o.Dir, "data"),

		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
		"transaction.state.log.num.partitions":             "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		"auto.create.topics.enable":                        "false",
	}
	maps.Copy(all, o.Settings)
	return all
}
