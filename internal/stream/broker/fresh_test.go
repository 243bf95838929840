package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Two workers start a new group together. The first has committed where its
// partitions start before the second one's first generation begins; start_from
// holds for the second one's partitions all the same.
func TestMembersThatStartAGroupTogetherAreBothFresh(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 2)
	b := connect(t, cluster)
	first := startWorker(t, b, group).owning(t, 2)
	joining, letJoin := holdNext(t, cluster, kmsg.JoinGroup)
	second := startWorker(t, b, group)
	receive(t, joining)

	require.NoError(t, first.Commit(t.Context(), map[int]int64{0: 5}))
	letJoin()
	close(first.release)

	require.True(t, second.owning(t, 1).Fresh())
}
