"""Programs in the manner of Flax's public examples, each written for Linen: only their imports say `minilinen`."""
