"""Real models, written as a user would, with `import minilinen as nn` and nothing else of minilinen.

The demo runs them, the benchmarks run them on minilinen and on Flax with only that import changed, and the tests
compare the two.
"""
