"""The merchant's pages, what customers open from a message, and what providers call: server-rendered, useful without scripts."""
