package wire

// Append implements Control.
func (c Commit) Append(b []byte) []byte { panic("BUG: not yet") }

// Append implements Control.
func (c Close) Append(b []byte) []byte { panic("BUG: not yet") }

// Append implements Control.
func (s Seeds) Append(b []byte) []byte { panic("BUG: not yet") }

// ReadControl decodes a control message: the result is a Commit, a Close or a
// Seeds.
func ReadControl(b []byte) (Control, error) { panic("BUG: not yet") }
