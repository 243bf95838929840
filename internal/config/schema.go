package config

import (
	"encoding/json"
	"fmt"
)

// Schema returns the JSON Schema (2020-12) of the file, indented and ending in
// a newline. The rules between keys are beyond it: Parse knows those.
func Schema() ([]byte, error) {
	c := defaults()
	d := draft{Config: &c, braze: defaultTarget()}
	s := block(d.keys()).schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "cohortsync configuration"
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return append(data, '\n'), nil
}
