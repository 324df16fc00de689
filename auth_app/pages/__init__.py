"""Pages for people: sign in, sign out, and look after one's own account. They work without JavaScript."""
