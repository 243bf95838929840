package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// cohortPlaceholder stands for a cohort's id in the name of an attribute.
const cohortPlaceholder = "{cohort_id}"

// brazeAdmin asks a simulated Braze who is in which cohort.
type brazeAdmin struct {
	base *url.URL
	// attribute is the template of the attributes' names, "" for the cohorts API.
	attribute string
	client    *http.Client
}

func newBrazeAdmin(address, attribute string) (*brazeAdmin, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("--braze is %q; a URL such as http://127.0.0.1:8081 is right", address)
	}
	return &brazeAdmin{base: base, attribute: attribute, client: &http.Client{Timeout: 2 * time.Minute}}, nil
}

// id returns what Braze calls a cohort.
func (b *brazeAdmin) id(cohort string) string {
	if b.attribute == "" {
		return cohort
	}
	return strings.ReplaceAll(b.attribute, cohortPlaceholder, cohort)
}

// named says that Braze has names of cohorts.
func (b *brazeAdmin) named() bool { return b.attribute == "" }

type brazeCohort struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"members"`
}

func (b *brazeAdmin) cohorts(ctx context.Context) ([]brazeCohort, error) {
	body, err := b.get(ctx, "admin", "cohorts")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer struct {
		Cohorts *[]brazeCohort `json:"cohorts"`
	}
	if err = json.NewDecoder(body).Decode(&answer); err == nil && answer.Cohorts == nil {
		err = errors.New("the answer has no cohorts; is this brazesim?")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cohorts of %s: %w", b.base, err)
	}
	return *answer.Cohorts, nil
}

// members returns the external ids in a cohort, and how many members are
// identified by something else.
func (b *brazeAdmin) members(ctx context.Context, id string) (ids []string, others int, err error) {
	body, err := b.get(ctx, "admin", "cohorts", id, "members")
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	lines := json.NewDecoder(bufio.NewReaderSize(body, 1<<16))
	for {
		var line struct {
			Kind  string `json:"kind"`
			Value string `json:"value"`
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return ids, others, nil
		case err != nil:
			return nil, 0, fmt.Errorf("reading the members of %s: %w", id, err)
		case line.Kind == "external_id":
			ids = append(ids, line.Value)
		default:
			others++
		}
	}
}

// get returns the body of the answer, which the caller closes.
func (b *brazeAdmin) get(ctx context.Context, path ...string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.address(path...), nil)
	if err != nil {
		return nil, fmt.Errorf("asking the simulated Braze: %w", err)
	}
	answer, err := b.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the simulated Braze: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close() // It is not read.
		return nil, fmt.Errorf("asking the simulated Braze: %s answers %s; is this brazesim?", request.URL, answer.Status)
	}
	return answer.Body, nil
}

// address returns the URL of a path, whose parts may hold anything.
func (b *brazeAdmin) address(path ...string) string {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	return b.base.JoinPath(path...).String()
}
