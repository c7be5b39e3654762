package app

import (
	_ "embed"
	"encoding/json"
)

// configDocs holds the comment of every configuration key, so that check can
// explain them: the binary carries no source. make generate writes it.
//
//go:embed config_docs.json
var configDocs []byte

// ConfigDocs returns the sentences that explain each configuration key, by
// path.
func ConfigDocs() map[string]string {
	docs := map[string]string{}
	if err := json.Unmarshal(configDocs, &docs); err != nil {
		panic("BUG: config_docs.json: " + err.Error())
	}
	return docs
}
