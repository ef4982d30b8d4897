"""What hardly does what it should with values, and what Flax lets pass: sown, cached, looked up, returned. Warnings."""

from __future__ import annotations

from typing import Any

from minilinen.errors.base import MinilinenWarning


class FedBackWarning(MinilinenWarning):
  """A value is sown onto what an earlier run sowed, which was passed in again.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.sow("intermediates", "x", x)
        return x
    _, variables = Net().apply({}, x, mutable=["intermediates"])
    Net().apply(variables, x, mutable=["intermediates"])
  """

  takes = ("col", "name", "path", "count")
  says = (
    "{path!r} sows {name!r} onto what was passed in: the tuple of collection {col!r} grows with every run that gets "
    "the one before, and jax.jit compiles each anew."
  )
  expected = "variables without {col!r}"
  found = "{count} in {name!r} when the run began"
  right = '{k: v for k, v in variables.items() if k != "{col}"}'
  mend = "or sow so that one value is kept: reduce_fn=lambda old, new: new, init_fn=lambda: None."

  def __init__(self, col: str, name: str, path: str, count: int):
    super().__init__(col, name, path, f"{count} value{'s' * (count > 1)}")


class FullCacheWarning(MinilinenWarning):
  """A position is decoded for which the cache has no place.

  It is told where the position is a number: as the program runs, under `jax.vmap` and `jax.grad` too. In what `jax.jit`
  or a loop of JAX traces a position has no number yet, and nothing is said: run a few steps without, or compare
  `cache_index` with the length in the loop.

  Example:
    model = nn.MultiHeadDotProductAttention(num_heads=1, decode=True)
    variables = model.init(key, x[None])
    for _ in range(3):
      y, updates = model.apply(variables, x[None, :1], mutable=["cache"])
      variables = {**variables, **updates}
  """

  takes = ("module", "path", "index", "length")
  says = (
    "{module} in {path!r} decodes position {index}, counted from 0, and its cache has {length} places: one that is "
    "taken is overwritten, and the result is wrong."
  )
  expected = "at most {length} positions"
  right = 'cache = model.init(key, x)["cache"]'
  mend = (
    "for an x as long as what is decoded: init makes the cache of its length. Such a cache also begins anew."
  )

  entries = (
    "make the cache longer; to begin anew, make it again: entry((batch, length)) for each entry of init."
  )


class IdsOutsideWarning(MinilinenWarning):
  """An embedding is asked for numbers that it has no vector for.

  It is told where the ids are numbers: as the program runs, under `jax.vmap` and `jax.grad` too, and where they are a
  numpy array. In what `jax.jit` or a loop of JAX traces there are none yet, and nothing is said: run a batch without,
  or compare the ids of the data with `num_embeddings`.

  Example:
    nn.Embed(3, 4).init(key, jnp.array([0, 1, 3]))
  """

  takes = ("whose", "path", "number", "size", "instead")
  says = "{whose} is asked for number {number}, and has vectors for 0 to {last}: it gives {instead}."
  expected = "numbers from 0 to {last}"
  right = "num_embeddings={more}"
  mend = "or look up ids that the table has: the largest that occurs is one less than num_embeddings."

  below = (
    "negative numbers count from the end. Look up ids that the table has, and mask what comes of padding."
  )

  def __init__(self, whose: str, path: str, number: int, size: int, instead: str):
    case: dict[str, Any] = dict(right="", mend=self.below) if number < 0 else {}
    super().__init__(whose, path, number, size, instead, last=size - 1, more=f"{number + 1} or more", **case)


class KernelSizeWarning(MinilinenWarning):
  """A convolution slides over one axis, since its kernel size is one number, and its input has more of them.

  Nothing is said of size 1 without strides, which does the same over any number of axes.

  Example:
    nn.Conv(8, 3).init(key, jnp.ones((1, 28, 28, 3)))
  """

  takes = ("module", "path", "size", "shape", "kernel")
  says = (
    "{module} in {path!r} slides over the axis before the last alone: kernel_size={size} is ({size},), and in the "
    "input {shape} the axes before are batch axes."
  )
  expected = "a size for each axis that the kernel slides over"
  found = "kernel_size={size}, so a kernel of the shape {kernel}"
  right = "kernel_size=({sizes})"
  mend = "for a kernel that slides over one axis, as here, write ({size},)."

  def __init__(self, module: str, path: str, size: int, shape: tuple[int, ...], kernel: tuple[int, ...]):
    sizes = ", ".join([str(size)] * (len(shape) - 2))
    super().__init__(module, path, size, shape, kernel, sizes=sizes)


class ReturnedLayerWarning(MinilinenWarning):
  """A model returns a layer instead of what it computes.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.Dense(4)
    Net().init(key, x)
  """

  takes = ("module", "layer")
  says = "{module}.__call__ returns the layer {layer} itself, and not what it computes."
  expected = "a result of arrays"
  found = "{layer}, which was not called"
  wrong = "return nn.{layer}(...)"
  right = "return nn.{layer}(...)(x)"
  mend = "a method of another name may give a submodule: model.bind(variables).encoder."

  def __init__(self, module: str, layer: str, is_ours: bool):
    case = {} if is_ours else dict(wrong="return {layer}(...)", right="return {layer}(...)(x)")
    super().__init__(module, layer, **case)


class MisspeltCollectionWarning(MinilinenWarning):
  """`mutable=` names a collection that is not there, and that looks like one that is.

  Example:
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        self.sow("intermediates", "x", x)
        return x
    Net().apply({}, x, mutable=["intermediate"])
  """

  takes = ("name", "meant", "sown")
  says = "mutable= names the collection {name!r}, in which there is nothing: is {meant!r} meant?{sown}"
  expected = "a collection of the model's"
  found = "{name!r}"
  right = "mutable={names}"

  not_kept = " Something was sown into that, and is not kept."

  def __init__(self, name: str, meant: str, named: list[str], is_sown: bool):
    names = [meant if other == name else other for other in named]
    super().__init__(name, meant, self.not_kept if is_sown else "", names=names)


class DeprecatedWarning(MinilinenWarning, DeprecationWarning):
  """A class or an argument is an older form, which Flax says that it will take away.

  Python shows it where its other warnings of this kind are shown: mostly in the script that runs, and in tests.

  Example:
    nn.SelfAttention(1).init(key, x)
  """

  says = "{what}{of} will be deprecated soon in Flax."
  right = "{new}"

  def __init__(self, what: str, new: str, module: str = ""):
    super().__init__(what=what, new=new, of=f" of {module}" if module else "")
