package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// outcomeFile is the file with the expected membership while the run lasts:
// under another name, beside its own. So it is known at the start that it can
// be written, and nobody reads half of it.
type outcomeFile struct {
	path string
	file *os.File
}

// createOutcome creates the file. The caller ends it with commit.
func createOutcome(path string) (*outcomeFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("creating the file for the expected membership: %w", err)
	}
	return &outcomeFile{path: path, file: f}, nil
}

// commit writes the file and gives it its name.
func (o *outcomeFile) commit(e *expectation, head outcome) error {
	err := errors.Join(e.write(o.file, head), o.file.Close())
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the expected membership: %w", err), os.Remove(o.file.Name()))
	}
	return nil
}

// readOutcome reads the file with the expected membership.
func readOutcome(path string) (*outcome, error) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("reading the expected membership: %w", err)
	}
	o := new(outcome)
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("reading the expected membership in %s: %w", path, err)
	}
	if o.Version != outcomeVersion {
		return nil, fmt.Errorf("reading the expected membership in %s: its version is %d; this command reads version %d, as loadgen write --expected makes it", path, o.Version, outcomeVersion)
	}
	return o, nil
}
