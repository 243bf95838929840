//go:build unix

package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachAddressIsFreeAndGivenOnce(t *testing.T) {
	t.Parallel()
	p := newPorts()
	first, err := p.free(t.Context())
	require.NoError(t, err)
	again := *p
	next, err := p.free(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, next)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", next)
	require.NoError(t, err)
	defer taken.Close()
	other, err := again.free(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, next, other, "somebody listens there")
	again.next = again.end
	_, err = again.free(t.Context())
	require.ErrorContains(t, err, "none left")
}
