"""The layers, written against the public Module API and the functions of arrays in `minilinen.functions`."""
