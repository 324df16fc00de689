"""The HTML pages for users: sign in, and manage one's own account. They work without JavaScript."""
