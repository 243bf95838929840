package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// maxAdminBody bounds what the admin API reads, in bytes.
const maxAdminBody = 64 << 20

// limitOf returns the query's limit, or what it is without one.
func limitOf(r *http.Request, otherwise int) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("limit is %q, and must be a number of at least 1", text)
	}
	return n, nil
}

// read decodes a body strictly, or says what is wrong with it.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && !errors.Is(decoder.Decode(&struct{}{}), io.EOF) {
		err = errors.New("there is more than one JSON value")
	}
	if err != nil {
		complain(w, fmt.Errorf("reading the body: %w", err))
		return false
	}
	return true
}

func complain(w http.ResponseWriter, err error) {
	answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	// The client has gone when this fails; there is nobody to tell.
	_ = encoder.Encode(body) //nolint:errchkjson // Every body is made here and encodes.
}
