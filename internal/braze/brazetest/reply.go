package brazetest

import (
	"encoding/json"
	"maps"
	"net/http"
)

// reply is an answer to be.
type reply struct {
	status int
	header http.Header
	body   string
}

func says(status int, message string) *reply {
	return tells(status, processed{Message: message})
}

func tells(status int, body any) *reply {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // What the server says always has a JSON form.
	}
	return &reply{status: status, body: string(text)}
}

func firstOf(replies ...*reply) *reply {
	for _, r := range replies {
		if r != nil {
			return r
		}
	}
	return nil
}

func merge(a, b http.Header) http.Header {
	if a == nil {
		a = make(http.Header, len(b))
	}
	maps.Copy(a, b)
	return a
}
