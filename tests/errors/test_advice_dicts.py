"""The advice about dicts of variables, about the flags of a run, and about options that JAX no longer has."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import core, errors

ADVICE = [
  # FrozenDicts.
  Advice(
    errors.FrozenDictError,
    "d = nn.FrozenDict({'a': 1}); d['b'] = 2",
    ["'b' cannot be set", "right d = d.copy({'b': ...})", "d.unfreeze() of the whole tree"],
    ("loses",),
    "d = nn.FrozenDict({'a': 1}); d = d.copy({'b': 2})",
  ),
  Advice(
    errors.FrozenDictError,
    "variables = core.freeze(nn.Dense(4).init(key, x)); variables['params']['kernel'] = x",
    ["'kernel' cannot be set", "nested ones too", "<program>:1"],
    ("loses",),
    "variables = nn.Dense(4).init(key, x).unfreeze(); variables['params']['kernel'] = x",
  ),
  Advice(
    errors.FrozenDictError,
    "d = nn.FrozenDict({'params': {'a': 1, 'b': 2}}); d['params'] = {'a': 3}",
    ["right d = d.unfreeze(); d['params'] = ...", "loses the rest of what is in it"],
    ("d.copy",),
    "d = nn.FrozenDict({'params': {'a': 1, 'b': 2}}); d = d.unfreeze(); d['params'] = {'a': 3}",
  ),
  # Functions of dicts.
  Advice(
    errors.NotADictError,
    "core.pop(nn.Dense(4).init_with_output(key, x), 'params')",
    ["got <class 'tuple'>, in core.pop", "is a pair: y, variables = ..."],
    ("dict(d)", "as init returns them"),
    "y, variables = nn.Dense(4).init_with_output(key, x); core.pop(variables, 'params')",
  ),
  Advice(
    errors.NotADictError,
    "core.copy([1, 2], {'a': 1})",
    ["got <class 'list'>, in core.copy", "as init returns them"],
    ("pair", "dict(d)"),
  ),
  Advice(
    errors.NotADictError,
    "import types; core.copy(types.MappingProxyType({'a': 1}), {'b': 2})",
    ["right core.copy(dict(d), ...)", "make a dict of it first"],
    ("pair",),
    "import types; core.copy(dict(types.MappingProxyType({'a': 1})), {'b': 2})",
  ),
  # Flags.
  Advice(
    errors.FlagNotFoundError,
    "core.apply(lambda scope: scope.get_flag('train'))({})",
    ["There: nothing.", "right scope.get_flag('train', False)", 'core.apply(fn, flags={"train": True})'],
    ("Did you mean",),
    "core.apply(lambda scope: scope.get_flag('train', False))({})",
  ),
  Advice(
    errors.FlagNotFoundError,
    "core.apply(lambda scope: scope.get_flag('trian'), flags={'train': True})({})",
    ["Did you mean 'train'?", "right scope.get_flag('train')"],
    ("False", "flags={"),
    "core.apply(lambda scope: scope.get_flag('train'), flags={'train': True})({})",
  ),
  Advice(
    errors.FlagNotFoundError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x if self.scope.get_flag("train") else -x
    Net().init(key, x)
    """,
    ["The flag 'train' is not set in this run. There: initializing.", "module /", "5 in Net.__call__"],
    ("Did you mean",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return x if self.scope.get_flag("train", False) else -x
    Net().init(key, x)
    """,
  ),
  # Options that are gone.
  Advice(
    errors.RemovedOptionError,
    "nn.remat(nn.Dense, concrete=True)",
    ["nn.remat of Dense has no concrete any more", "right nn.remat(Dense, ...)"],
    ("psum", "static_argnums=("),
    "nn.remat(nn.Dense)(4).init(key, x)",
  ),
  Advice(
    errors.RemovedOptionError,
    """
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x, train=False):
        return nn.Dropout(0.5, deterministic=not train)(x)
    nn.remat(Block, concrete=True)
    """,
    ["right nn.remat(Block, static_argnums=(2,), ...)", "the module is number 0"],
    ("psum",),
    """
    class Block(nn.Module):
      @nn.compact
      def __call__(self, x, train=False):
        return nn.Dropout(0.5, deterministic=not train)(x)
    nn.remat(Block, static_argnums=(2,))().init(key, x, True)
    """,
  ),
  Advice(
    errors.RemovedOptionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.vjp(lambda self, x: nn.Dense(4)(x), self, x, reduce_axes=("batch",))[0]
    Net().init(key, x)
    """,
    ["nn.vjp of <lambda> has no reduce_axes", "right jax.lax.psum(gradients, ('batch',))", "for each of the"],
    ("static_argnums",),
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.vjp(lambda self, x: nn.Dense(4)(x), self, x)[0]
    Net().init(key, x)
    """,
  ),
  Advice(
    errors.RemovedOptionError,
    """
    class Net(nn.Module):
      @nn.compact
      def __call__(self, x):
        return nn.grad(lambda self, x: nn.Dense(4)(x).sum(), self, x, reduce_axes="batch")
    Net().init(key, x)
    """,
    ["nn.grad of <lambda> has no reduce_axes", "right jax.lax.psum(gradients, 'batch')"],
    ("nn.vjp",),
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()


def test_pythons_base_classes_are_kept() -> None:
  for cls, base in {
    errors.FrozenDictError: ValueError,
    errors.NotADictError: TypeError,
    errors.FlagNotFoundError: KeyError,
    errors.RemovedOptionError: NotImplementedError,
  }.items():
    assert issubclass(cls, base)


def test_a_key_error_is_told_as_it_is() -> None:
  """Python quotes the text of a KeyError, which has lines of its own here."""
  with pytest.raises(KeyError) as caught:
    core.apply(lambda scope: scope.get_flag("train"))({})
  assert str(caught.value).startswith(
    "The flag 'train' is not set in this run. There: nothing.\n  module  /\n"
  )
