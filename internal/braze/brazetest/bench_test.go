package brazetest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// BenchmarkServer takes requests through the server without a socket. Each is
// about the next of a hundred thousand users; the figure to look at is
// ns/identifier.
func BenchmarkServer(b *testing.B) {
	for _, api := range []string{"cohorts", "track"} {
		for _, n := range []int{1, 75, 1000} {
			if api == "track" && n > maxObjects {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", api, n), func(b *testing.B) {
				server := New(Options{
					Limit: -1, TrackLimit: -1, ApplyWithin: time.Second, HistoryLimit: 1000, HistoryOps: 20, OperationLimit: 10,
				})
				path, requests := "/partners/amplitude/cohorts/users", benchmarkBodies(api, n)
				if api == "track" {
					path = trackPath
				}
				ctx := context.Background()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					x := &exchange{
						Request: &Request{Path: path, UserAgent: "partner-Test-Test/1"},
						server:  server, method: http.MethodPost, body: requests[i%len(requests)], bearer: "s",
					}
					if answer, _ := x.run(ctx); answer.status != http.StatusCreated {
						b.Fatal(answer)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/identifier")
			})
		}
	}
}

func benchmarkBodies(api string, n int) [][]byte {
	all := make([][]byte, 0, 100_000/n)
	for from := 0; from < 100_000; from += n {
		var parts []string
		for i := from; i < from+n; i++ {
			id := fmt.Sprintf("user-%08d", i)
			if api == "track" {
				parts = append(parts, object(id, `"cohort_7khm89cz":true`))
			} else {
				parts = append(parts, `"`+id+`"`)
			}
		}
		body := attributes(parts...)
		if api == "cohorts" {
			body = keys + `"cohort_changes":[{"user_ids":[` + strings.Join(parts, ",") + `],"device_ids":[],"aliases":[]}]}`
		}
		all = append(all, bytes.Clone([]byte(body)))
	}
	return all
}
