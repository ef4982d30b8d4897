"""The layers, written against the public Module API only."""
