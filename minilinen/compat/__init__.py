"""May be skipped: a project that imports Flax Linen, run on minilinen as it stands.

    import minilinen.compat as compat
    compat.install()
    import their_project

From then on `flax.linen`, `flax.core`, `flax.errors` and all modules below them are minilinen, under the settings that
Flax has today; whoever imports the rest of Flax (`flax.struct`, `flax.serialization`, `flax.training` ...) gets what is
installed, which works on minilinen's modules and variables. `python -m minilinen run script.py` does it for a program
that is not touched at all, and `--flax` for a model whose picture is wanted.

`names.py` says which module stands for which, `exchanged.py` how it answers, `finder.py` puts it where Python looks;
`settings.py` follows `flax.config`.
"""

from minilinen.compat.installing import install as install
from minilinen.compat.installing import installed as installed
from minilinen.compat.installing import is_installed as is_installed
from minilinen.compat.installing import uninstall as uninstall
from minilinen.compat.script import NoScriptError as NoScriptError
from minilinen.compat.script import run_script as run_script
