package app_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

func TestACheckTellsWhichRightIsMissing(t *testing.T) {
	t.Parallel()
	const (
		read, write, describe      = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe
		describeConfigs, createNew = kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationCreate
	)
	onTopic, onDead := kafkatest.OnTopic(topic, read, describeConfigs), kafkatest.OnTopic(dead, write, describeConfigs)
	onGroups := kafkatest.OnGroups("cohortsync.", read)
	_, url := startBraze(t, brazetest.Options{})
	for name, row := range map[string]struct {
		rights [][]kafkatest.Right
		// deadMissing leaves the dead-letter topic out.
		deadMissing bool
		want        []string
	}{
		"none is": {[][]kafkatest.Right{onTopic, onDead, onGroups}, false, nil},
		"any on the topic": {[][]kafkatest.Right{onDead, onGroups}, false, []string{
			"wrong    topic changes: this user may not describe it; allow Read and Describe on it, or correct kafka.topic",
			"skipped  topic changes: whether it may be read, for it cannot be described",
		}},
		"reading the topic": {[][]kafkatest.Right{kafkatest.OnTopic(topic, describe, describeConfigs), onDead, onGroups}, false, []string{
			"wrong    topic changes: this user may not read it; allow Read on it",
		}},
		"seeing the topic's configuration": {[][]kafkatest.Right{kafkatest.OnTopic(topic, read), onDead, onGroups}, false, []string{
			"warning  topic changes: 3 partitions, its configuration is not for this user to see; " +
				"allow DescribeConfigs on it: without it a compacted topic goes unnoticed",
		}},
		"any on the groups": {[][]kafkatest.Right{onTopic, onDead}, false, []string{
			"wrong    group cohortsync.main: this user may not read it; allow Read and Describe on groups with the prefix cohortsync.",
		}},
		"reading the groups": {[][]kafkatest.Right{onTopic, onDead, kafkatest.OnGroups("cohortsync.", describe)}, false, []string{
			"wrong    group cohortsync.main: this user may not read it; allow Read and Describe on groups with the prefix cohortsync.",
		}},
		"any on the dead-letter topic": {[][]kafkatest.Right{onTopic, onGroups}, false, []string{
			"wrong    dead-letter topic changes.dead-letter: this user may not describe it; allow Write and Describe on it, and Create unless it exists",
			"skipped  dead-letter topic changes.dead-letter: whether it may be written, for it cannot be described",
		}},
		"writing letters": {[][]kafkatest.Right{onTopic, onGroups, kafkatest.OnTopic(dead, describe)}, false, []string{
			"wrong    dead-letter topic changes.dead-letter: this user may not write to it; allow Write on it",
		}},
		"creating the dead-letter topic": {[][]kafkatest.Right{onTopic, onDead, onGroups}, true, []string{
			"wrong    dead-letter topic changes.dead-letter: it does not exist, and this user may not create it; allow Create on it, or create it with: " +
				"kafka-topics.sh --bootstrap-server KAFKA --create --topic changes.dead-letter --partitions 3 " +
				"--config cleanup.policy=delete --config retention.ms=1209600000",
		}},
		"none, the dead-letter topic to be created": {
			[][]kafkatest.Right{onTopic, onGroups, kafkatest.OnTopic(dead, write, createNew)}, true, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.StartLimited(t, row.rights...)
			cluster.Admin().CreateTopic(t, topic, 3)
			if !row.deadMissing {
				cluster.Admin().CreateTopic(t, dead, 1)
			}
			found := check(t, setup{cluster: cluster, kafka: saslAs, targets: []target{{name: "Main", endpoint: url}}})
			require.Equal(t, row.want, notOK(found))
			require.Contains(t, found, "ok       broker KAFKA: reached, logged in with plain")
			require.Contains(t, found, targetOK)
		})
	}
}

func TestWithoutABrokerACheckSkipsWhatNeedsOne(t *testing.T) {
	t.Parallel()
	_, url := startBraze(t, brazetest.Options{})
	guarded := startEmbedded(t, "a login of the test's own", 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "worker", "another"))
	skipped := []string{
		"skipped  topic changes: no broker was reached",
		"skipped  group cohortsync.main: no broker was reached",
		"skipped  dead-letter topic changes.dead-letter: no broker was reached",
		targetOK,
	}
	for name, row := range map[string]struct{ address, kafka, want string }{
		"down": {
			kafkatest.Unused(t).String(), "",
			"wrong    broker KAFKA: connecting: dial tcp KAFKA: connect: connection refused; check kafka.brokers, and what is between: name servers, firewalls",
		},
		"a wrong password": {
			guarded.ListenAddrs()[0], saslAs,
			"wrong    broker KAFKA: logging in: could not successfully authenticate to KAFKA with SASL: [58] SASL Authentication Failed: " +
				"SASL Authentication failed; check kafka.sasl: mechanism, username and password",
		},
		"no login": {
			guarded.ListenAddrs()[0], "",
			"wrong    broker KAFKA: asking for the cluster's brokers: EOF; check whether this port is Kafka's, and wants a login (kafka.sasl) or TLS (kafka.tls)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := check(t, setup{address: row.address, kafka: row.kafka, targets: []target{{name: "Main", endpoint: url}}})
			require.Equal(t, append([]string{row.want}, skipped...), found)
		})
	}
}

func TestACheckGoesOnWithTheBrokersThatItReached(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	cluster.Admin().CreateTopic(t, dead, 1)
	_, url := startBraze(t, brazetest.Options{})
	s := setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}}
	cfg := s.config(t)
	cfg.Kafka.Brokers = append([]string{"host.invalid:9092"}, cfg.Kafka.Brokers...)
	found := lookAt(t, s, cfg)
	require.Contains(t, found[0], "wrong    broker host.invalid:9092: connecting: ")
	require.Equal(t, []string{brokerOK, topicOK, readOK, groupOK, deadOK, writeOK, targetOK}, found[1:])
}

func TestACheckWithoutItsCertificatesSaysSo(t *testing.T) {
	t.Parallel()
	_, url := startBraze(t, brazetest.Options{})
	found := check(t, setup{
		address: kafkatest.Unused(t).String(), kafka: "  tls: {enabled: true, ca_file: /nowhere/ca.pem}",
		targets: []target{{name: "Main", endpoint: url}},
	})
	require.Equal(t, "wrong    kafka: preparing TLS for Kafka: reading the certificate authorities: "+
		"open /nowhere/ca.pem: no such file or directory; correct kafka.tls or kafka.sasl", found[0])
	require.Equal(t, targetOK, found[len(found)-1])
}

func TestACheckTellsWhatBrazeSaysOfTheCredentials(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	cluster.Admin().CreateTopic(t, dead, 1)
	braze, url := startBraze(t, brazetest.Options{})
	check := func(t *testing.T, url string, more ...target) []string {
		t.Helper()
		return notOK(check(t, setup{cluster: cluster, targets: append([]target{{name: "Main", endpoint: url}}, more...)}))
	}
	const credentials = "check the target's keys and partner, and that the endpoint is that of its Braze instance"

	require.Equal(t, []string{`wrong    target "Other": Braze refuses the credentials (401 Unauthorized: ` +
		"Partner not enabled for client with client secret: [redacted]); " + credentials},
		check(t, url, target{name: "Other", endpoint: url, apiKey: "${env:OTHER_KEY}"}), "each target has its line")
	require.Equal(t, []string{`wrong    target "Main": Braze cannot be reached (` +
		"dial tcp BRAZE: connect: connection refused); check the endpoint, and what is between: name servers, proxies, firewalls"},
		check(t, "http://"+kafkatest.Unused(t).String()))
	require.Equal(t, []string{`wrong    target "Main": Braze refuses the credentials (404 Not Found: Invalid URL); ` + credentials},
		check(t, url+"/v2"))

	for _, row := range []struct {
		fault brazetest.Fault
		want  string
	}{
		{brazetest.Answer(503, ""), "wrong    target \"Main\": Braze fails (503 Service Unavailable); check again later"},
		{brazetest.Answer(429, ""), "warning  target \"Main\": Braze is busy, whether it takes the credentials is not known (429 Too Many Requests); check again later"},
		{brazetest.Answer(400, ""), "warning  target \"Main\": Braze refuses the probe, whether it takes the credentials is not known (400 Bad Request); " + credentials},
		{brazetest.Answer(200, brazetest.HTMLPage), "wrong    target \"Main\": this is not what Braze answers (neither an empty answer nor a JSON object: 200 OK: an HTML page); " +
			"check the endpoint, and whether a proxy answers in its place"},
	} {
		braze.Queue(row.fault)
		require.Equal(t, []string{row.want}, check(t, url))
	}
}

func TestACheckTellsOfPartitionsWithoutALeader(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "answers made by hand", 2, kfake.SeedTopics(2, dead))
	_, url := startBraze(t, brazetest.Options{})
	address := cluster.ListenAddrs()[0]
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	require.NoError(t, err)
	// As Kafka answers while the only replica of a partition is down.
	cluster.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		answer := r.ResponseKind().(*kmsg.MetadataResponse)
		answer.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: "127.0.0.1", Port: int32(number)}}
		for _, name := range []string{topic, dead} {
			answer.Topics = append(answer.Topics, kmsg.MetadataResponseTopic{Topic: new(name), Partitions: []kmsg.MetadataResponseTopicPartition{
				{Partition: 0, Leader: -1, ErrorCode: kerr.LeaderNotAvailable.Code}, {Partition: 1, Leader: 0},
			}})
		}
		return answer, nil, true
	})
	found := check(t, setup{address: address, targets: []target{{name: "Main", endpoint: url}}})
	const rest = ": 2 partitions, cleanup.policy=delete, retention 7 days, of which 1 without a leader; see to the brokers"
	require.Equal(t, []string{"wrong    topic changes" + rest, "wrong    dead-letter topic changes.dead-letter" + rest}, notOK(found))
	require.Contains(t, found, readOK, "the rights are the same on all partitions")
	require.Contains(t, found, writeOK)
}

func TestACheckSaysHowABrokerWasReached(t *testing.T) {
	t.Parallel()
	cluster, access := kafkatest.StartSecured(t, "scram-sha-512")
	cluster.Admin().CreateTopic(t, topic, 3)
	cluster.Admin().CreateTopic(t, dead, 1)
	_, url := startBraze(t, brazetest.Options{})
	found := check(t, setup{
		cluster: cluster, targets: []target{{name: "Main", endpoint: url}},
		kafka: fmt.Sprintf("  tls: {enabled: true, ca_file: %q}\n  sasl: {mechanism: scram-sha-512, username: %q, password: %q}",
			access.CAFile, access.User, access.Password),
	})
	require.Equal(t, []string{
		"ok       broker KAFKA: reached over TLS, logged in with scram-sha-512",
		topicOK, readOK, groupOK, deadOK, writeOK, targetOK,
	}, found)
}
