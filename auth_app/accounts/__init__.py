"""Users, passwords, roles, sessions and clients: the rules and the storage, independent of any endpoint."""
