package feed

// childRole selects what the re-executed test binary does.
const childRole = "FLOWHOUND_FEED_CHILD"

func child(role string) int { return 2 }
