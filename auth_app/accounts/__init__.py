"""Users, passwords, sessions and clients: what is stored, whoever asks for it."""
