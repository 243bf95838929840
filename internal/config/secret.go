package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// redacted stands wherever a secret's text would.
const redacted = "<redacted>"

// errReference says that a ${...} reference is malformed. Its text is for the
// person who wrote the file.
var errReference = errors.New("is not a reference that cohortsync knows")

// Source is where references lead: the environment and the file system. Both
// must be safe for concurrent use.
type Source struct {
	// Env looks a variable up, as os.LookupEnv does.
	Env func(name string) (string, bool)
	// ReadFile reads a file, as os.ReadFile does.
	ReadFile func(path string) ([]byte, error)
}

// System is the process's own environment and file system.
func System() Source { return Source{Env: os.LookupEnv, ReadFile: os.ReadFile} }

// Secret is a credential as the file has it: a reference or the plain text. It
// shows itself nowhere; Resolve alone returns the text. The zero Secret is
// empty. It is safe for concurrent use.
type Secret struct {
	text string
	from Source
}

// NewSecret makes a secret of a file's value, resolved by way of from.
func NewSecret(text string, from Source) Secret { return Secret{text: text, from: from} }

// IsZero says that the secret was not given.
func (s Secret) IsZero() bool { return s.text == "" }

// Reference returns the ${env:NAME} or ${file:PATH} text; empty for a plain
// secret.
func (s Secret) Reference() string {
	if strings.Contains(s.text, "${") {
		return s.text
	}
	return ""
}

// Resolve reads the secret anew, so that one rotated in its file takes effect,
// and trims one trailing newline. The error names the reference, never the
// secret.
func (s Secret) Resolve() (string, error) {
	if s.Reference() == "" {
		return s.text, nil
	}
	kind, name, err := splitReference(s.text)
	if err != nil {
		return "", fmt.Errorf("resolving a secret: %w", err)
	}
	value, err := s.read(kind, name)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", s.text, err)
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("resolving %s: it is empty", s.text)
	}
	return value, nil
}

func (s Secret) read(kind, name string) (string, error) {
	if kind == "env" {
		value, ok := s.from.Env(name)
		if !ok {
			return "", errors.New("the variable is not set")
		}
		return value, nil
	}
	data, err := s.from.ReadFile(name)
	return string(data), err
}

// splitReference takes ${env:NAME} or ${file:PATH} apart. The error does not
// quote the text, for what is no reference may be a secret.
func splitReference(text string) (kind, name string, err error) {
	inner, ok := strings.CutPrefix(text, "${")
	if !ok {
		return "", "", errReference
	}
	inner, ok = strings.CutSuffix(inner, "}")
	if !ok || strings.ContainsAny(inner, "{}\n") {
		return "", "", errReference
	}
	kind, name, _ = strings.Cut(inner, ":")
	if (kind != "env" && kind != "file") || strings.TrimSpace(name) == "" {
		return "", "", errReference
	}
	return kind, name, nil
}

// shown is the secret as people may see it.
func (s Secret) shown() string {
	if s.text == "" {
		return ""
	}
	if _, _, err := splitReference(s.text); err == nil {
		return s.text
	}
	return redacted
}

// String returns a reference as it is and redacts anything else.
func (s Secret) String() string { return s.shown() }

// GoString redacts as String does.
func (s Secret) GoString() string { return s.shown() }

// Format redacts whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.shown())) }

// LogValue redacts in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

// MarshalText redacts in every encoding built on text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

// MarshalJSON redacts in JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.shown()) }

// MarshalYAML redacts in YAML.
func (s Secret) MarshalYAML() (any, error) { return s.shown(), nil }
