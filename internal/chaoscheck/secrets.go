package chaoscheck

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func isLog(file string) bool {
	return strings.HasSuffix(file, ".log") || strings.HasSuffix(file, ".jsonl")
}

// FindSecrets looks for secrets in every log file of a folder, and in dead
// letters.
func FindSecrets(dir string, letters []Letter, secrets []string) ([]Difference, error) {
	var found []Difference
	tell := func(where string, which int) {
		found = append(found, Difference{Rule: RuleSecrets, What: fmt.Sprintf("secret %d is in %s", which, where)})
	}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isLog(file) {
			return err
		}
		text, err := os.ReadFile(file) //nolint:gosec // The run's own folder.
		if err != nil {
			return err
		}
		for i, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				tell(filepath.Base(file), i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for secrets: %w", err)
	}
	for _, l := range letters {
		for i, secret := range secrets {
			if strings.Contains(l.Text, secret) {
				tell(fmt.Sprintf("the dead letter about %d/%d", l.Partition, l.Offset), i)
			}
		}
	}
	return found, nil
}
