package kafkatest

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limited makes a broker that asks for a login by PLAIN, and lets the user do
// what the rights say and nothing else.
func Limited(user, password string, rights ...[]kfake.ACL) []kfake.Opt {
	var all []kfake.ACL
	for _, r := range rights {
		all = append(all, r...)
	}
	return []kfake.Opt{
		kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", password), kfake.User("PLAIN", user, password, all...),
	}
}

// OnTopic is the right to do something with a topic.
func OnTopic(name string, may ...kmsg.ACLOperation) []kfake.ACL {
	return allow(kmsg.ACLResourceTypeTopic, name, kmsg.ACLResourcePatternTypeLiteral, may)
}

// OnGroups is the right to do something with all groups of a prefix.
func OnGroups(prefix string, may ...kmsg.ACLOperation) []kfake.ACL {
	return allow(kmsg.ACLResourceTypeGroup, prefix, kmsg.ACLResourcePatternTypePrefixed, may)
}

func allow(on kmsg.ACLResourceType, name string, pattern kmsg.ACLResourcePatternType, may []kmsg.ACLOperation) []kfake.ACL {
	all := make([]kfake.ACL, len(may))
	for i, operation := range may {
		all[i] = kfake.ACL{Resource: on, Name: name, Pattern: pattern, Operation: operation, Allow: true}
	}
	return all
}
