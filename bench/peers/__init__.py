"""The same protected view as others would write it, to be measured beside ours."""
