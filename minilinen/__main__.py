"""`python -m minilinen` is the command `minilinen`, for where scripts are not on the path."""

import sys

from minilinen.cli import main

if __name__ == "__main__":
  sys.exit(main())
