"""Channel adapters: how a message reaches a member."""
