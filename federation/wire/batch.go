package wire

import "github.com/flowhound/flowhound/internal/flow"

// AppendBatch appends the encoding of a batch to b. Each contact's Local must
// be of the header's shard.
func AppendBatch(b []byte, h Header, cs []flow.Contact) []byte { panic("BUG: not yet") }

// ReadBatch decodes a batch that AppendBatch made and appends its contacts to
// cs.
func ReadBatch(b []byte, cs []flow.Contact) (Header, []flow.Contact, error) { panic("BUG: not yet") }
