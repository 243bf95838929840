package config

import (
	"fmt"
	"slices"

	"cohortsync/internal/catalog"
	"cohortsync/internal/mapping"
)

// complete fills in what follows from other keys.
func (c *draft) complete(file *positions) {
	c.owners = nil
	for i := range c.Targets {
		c.owners = append(c.owners, index("targets", i))
	}
	if file.has("braze") {
		c.braze.Name = DefaultTargetName
		c.Targets = slices.Insert(c.Targets, 0, c.braze)
		c.owners = slices.Insert(c.owners, 0, "braze")
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		t.Slug = slug(t.Name)
		completeAttributes(t, func(key string) bool { return file.has(join(c.owners[i], key)) })
	}
	if c.Kafka.DeadLetterTopic == "" && c.Kafka.Topic != "" {
		c.Kafka.DeadLetterTopic = c.Kafka.Topic + ".dead-letter"
	}
	for i := range c.Syncs {
		c.completeSync(&c.Syncs[i], index("syncs", i), file)
	}
}

// completeSync leaves alone what the file gives, right or wrong.
func (c *draft) completeSync(s *catalog.Sync, path string, file *positions) {
	if !file.has(join(path, "name")) {
		s.Name = s.CohortID
	}
	if !file.has(join(path, "target")) {
		s.Target = DefaultTargetName
	}
	if !file.has(join(path, "linger")) {
		s.Linger = c.Delivery.Linger
	}
}

// check applies the rules between keys. It cleans the endpoints on its way.
func (c *Config) check() Problems {
	var found Problems
	for _, rule := range []func() Problems{
		c.checkKafka, c.checkTimes, c.checkTargets, c.checkIdentifiers, c.checkSyncs, c.checkAPIs, c.checkCredentials, c.checkAttributes,
	} {
		found = append(found, rule()...)
	}
	return found
}

func (c *Config) checkKafka() Problems {
	var found Problems
	report := func(path, what, want string) { found = append(found, c.file.problem(path, what, want)) }
	k := c.Kafka
	if k.DeadLetterTopic != "" && k.DeadLetterTopic == k.Topic {
		report("kafka.dead_letter_topic", "is the topic itself, which would feed its dead letters back", "choose another name")
	} else if len(k.DeadLetterTopic) > 249 {
		report("kafka.dead_letter_topic", "would be longer than Kafka takes", "give one of at most 249 characters")
	}
	for _, name := range []string{"ca_file", "cert_file", "key_file"} {
		if path := "kafka.tls." + name; c.file.has(path) && !k.TLS.Enabled {
			report(path, "has no effect without TLS", "set kafka.tls.enabled: true, or remove it")
		}
	}
	if (k.TLS.CertFile == "") != (k.TLS.KeyFile == "") {
		report("kafka.tls", "has one of cert_file and key_file", "give both, or neither")
	}
	for _, name := range []string{"username", "password"} {
		path := "kafka.sasl." + name
		switch given := c.file.has(path); {
		case given && k.SASL.Mechanism == SASLNone && !c.file.has("kafka.sasl.mechanism"):
			report(path, "has no effect without a mechanism", "add mechanism: plain, scram-sha-256 or scram-sha-512")
		case !given && k.SASL.Mechanism != SASLNone:
			report(path, "is missing", "the mechanism needs username and password")
		}
	}
	if k.SASL.Mechanism == SASLPlain && !k.TLS.Enabled {
		p := c.file.problem("kafka.sasl.mechanism", "sends the password in clear text without TLS", "set kafka.tls.enabled: true")
		p.Warning = true
		found = append(found, p)
	}
	return found
}

// checkTimes keeps an owner from sending what the next one may send already.
func (c *Config) checkTimes() Problems {
	var found Problems
	report := func(path, what, want string) { found = append(found, c.file.problem(path, what, want)) }
	k := c.Kafka
	if k.HeartbeatInterval >= k.SessionTimeout {
		report("kafka.heartbeat_interval", "is not shorter than session_timeout, so that every member would be thrown out",
			"want at most a third of it, "+formatDuration(k.SessionTimeout/3))
	}
	if k.DrainTimeout >= k.RebalanceTimeout {
		report("kafka.drain_timeout", "is not shorter than rebalance_timeout ("+formatDuration(k.RebalanceTimeout)+")",
			"shorten it, or lengthen rebalance_timeout")
	} else if limit := k.membership() - k.HeartbeatInterval; limit > 0 && k.DrainTimeout >= limit {
		report("kafka.drain_timeout", "is not shorter than min(session_timeout, rebalance_timeout) - heartbeat_interval",
			"want less than "+formatDuration(limit))
	}
	for i, t := range c.Targets {
		path := join(c.owners[i], "request_timeout")
		if t.RequestTimeout >= k.DrainTimeout {
			report(path, "is not shorter than kafka.drain_timeout", "want less than "+formatDuration(k.DrainTimeout))
		}
		if lease, least := k.Lease(t.RequestTimeout), 2*k.CommitInterval+k.HeartbeatInterval; k.HeartbeatInterval < k.membership() && lease < least {
			report(path, fmt.Sprintf("leaves a lease of %s: min(session_timeout, rebalance_timeout) - heartbeat_interval - request_timeout",
				formatDuration(max(lease, 0))),
				"want at least two commit intervals and a heartbeat interval, "+formatDuration(least)+": shorten request_timeout or lengthen the others")
		}
	}
	return found
}

func (c *Config) checkTargets() Problems {
	var found Problems
	report := func(path, what, want string) { found = append(found, c.file.problem(path, what, want)) }
	if len(c.Targets) == 0 && !c.file.has("targets") {
		report("targets", "names no target", "add one under targets:, or a braze: block")
	}
	slugs := make(map[string]int)
	for i := range c.Targets {
		t, path := &c.Targets[i], c.owners[i]
		if t.Endpoint != "" {
			clean, wrong, want := cleanEndpoint(t.Endpoint, t.AllowAnyEndpoint)
			if wrong != "" {
				report(join(path, "endpoint"), wrong, want)
			}
			t.Endpoint = clean
		}
		if t.Name == "" {
			continue
		}
		name := join(path, "name")
		first, again := slugs[t.Slug]
		switch {
		case t.Slug == "":
			report(name, "has no letter a-z or digit, so that its consumer group would have no name", "add one")
		case len(c.Kafka.GroupOf(*t)) > 249:
			report(name, "makes a consumer group's name of more than 249 characters", "shorten it")
		case again && c.Targets[first].Name == t.Name:
			report(name, "is a duplicate of "+c.owners[first], "give every target a name of its own")
		case again:
			report(name, fmt.Sprintf("has the consumer group of %q, %s", c.Targets[first].Name, c.Kafka.GroupOf(*t)),
				"choose names that differ in more than case and punctuation")
		default:
			slugs[t.Slug] = i
		}
	}
	return found
}

func (c *Config) checkIdentifiers() Problems {
	var found Problems
	report := func(path, what, want string) { found = append(found, c.file.problem(path, what, want)) }
	for i, t := range c.Targets {
		path := join(c.owners[i], "identifiers")
		for j, r := range t.Identifiers {
			label := join(index(path, j), "label")
			alias, given := r.To == catalog.UserAlias, c.file.has(label)
			switch {
			case r.From == "" || r.To == 0: // Reported already.
			case alias && !given:
				report(label, "is missing", "an alias is known by name and label: add label")
			case !alias && given:
				report(label, "is for user_alias only", "remove it, or use to: user_alias")
			case slices.Contains(t.Identifiers[:j], r):
				report(index(path, j), "is a duplicate", "remove it")
			default:
				if _, err := mapping.New([]catalog.Rule{r}, catalog.SendAll); err != nil {
					report(index(path, j), "cannot be used: "+err.Error(), "change it")
				}
			}
		}
	}
	return found
}

func (c *Config) checkSyncs() Problems {
	var found Problems
	type id struct{ target, rest string }
	cohorts, names := make(map[id]int), make(map[id]int)
	duplicate := func(seen map[id]int, key id, i int, path, want string) bool {
		if first, again := seen[key]; again {
			found = append(found, c.file.problem(path, fmt.Sprintf("is a duplicate of %s for target %q", index("syncs", first), key.target), want))
			return true
		}
		seen[key] = i
		return false
	}
	for i, s := range c.Syncs {
		path := index("syncs", i)
		if s.Target != "" && !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Name == s.Target }) {
			found = append(found, c.unknownTarget(path, s.Target))
		}
		if s.CohortID != "" && duplicate(cohorts, id{s.Target, s.CohortID}, i, join(path, "cohort_id"), "a cohort is sent to a target once") {
			continue
		}
		if s.Name != "" {
			duplicate(names, id{s.Target, s.Name}, i, join(path, "name"), "give every sync of a target a name of its own")
		}
	}
	return found
}

func (c *Config) unknownTarget(sync, target string) Problem {
	path := join(sync, "target")
	if !c.file.has(path) {
		return c.file.problem(path, "is missing, and there is no target named Default", "add target with the name of one")
	}
	want := "want the name of a target"
	for _, t := range c.Targets {
		if n := distance(t.Name, target); n < len(target) && n <= 1+len(target)/3 {
			want = "did you mean " + t.Name + "?"
		}
	}
	return c.file.problem(path, "is not a target of this file", want)
}
