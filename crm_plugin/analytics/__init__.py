"""Looking at members: lists, one member's whole story. Everything here reads and writes nothing."""
