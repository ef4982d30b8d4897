"""The advice for a first model: `self`, fields, `__post_init__`, names in loops, layers in a list, keys of apply."""

from __future__ import annotations

import pytest
from situations import Advice

from minilinen import errors


def _net(body: str, call: str) -> str:
  """A program: a module `Net` with this body, and a call of it."""
  lines = "\n".join(f"  {line}" for line in body.strip("\n").splitlines())
  return f"class Net(nn.Module):\n{lines}\n{call}\n"


def _loop(layer: str, before: str = "pass") -> str:
  body = (
    f"@nn.compact\ndef __call__(self, x):\n  {before}\n  for i in range(2):\n    x = {layer}(x)\n  return x"
  )
  return _net(body, "Net().init(key, x)")


def _drops(call: str) -> str:
  body = "@nn.compact\ndef __call__(self, x, train):\n  return nn.Dropout(0.5)(x, deterministic=not train)"
  return _net(body, f"m = Net(); v = m.init(key, x, False)\n{call}")


def _normed(call: str) -> str:
  body = "@nn.compact\ndef __call__(self, x, train):\n  return nn.BatchNorm(use_running_average=not train)(x)"
  return _net(body, f"m = Net(); v = m.init(key, x, False)\n{call}")


def _sized(field: str, call: str) -> str:
  body = f"{field}\n@nn.compact\ndef __call__(self, x):\n  return nn.Dense(self.features)(x)"
  return _net(body, f"{call}.init(key, x)")


def _encoder(call: str) -> str:
  body = (
    "def setup(self):\n  self.layer = nn.Dense(3)\ndef helper(self, x):\n  return self.layer(x)\n"
    "def encode(self, x):\n  return self.helper(x)\ndef __call__(self, x):\n  return self.encode(x)"
  )
  return _net(body, f"m = Net(); v = m.init(key, x)\n{call}")


def _doubled(post_init: str, field: str = "") -> str:
  body = (
    f"n: int\n{field}\ndef __post_init__(self):\n  {post_init}\n"
    "@nn.compact\ndef __call__(self, x):\n  return nn.Dense(self.k)(x)"
  )
  return _net(body, "Net(2).init(key, x)")


ADVICE = [
  # Settings that __post_init__ computes.
  *(
    Advice(
      errors.SetAttributeFrozenModuleError,
      _doubled("super().__post_init__(); self.k = self.n * 2", field),
      ["right self.k = ...; super().__post_init__()"],
      ("declare it", "clone"),
      _doubled("self.k = self.n * 2; super().__post_init__()", field),
    )
    for field in ("", "k: int = 0")
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    _net(
      "def __post_init__(self):\n  super().__post_init__()\n  self.layers = [nn.Dense(4)]\n"
      "def __call__(self, x):\n  return self.layers[0](x)",
      "Net().init(key, x)",
    ),
    ["right def setup(self): self.layers = ..."],
    ("; super().__post_init__()", "clone"),
    _net(
      "def setup(self):\n  self.layers = [nn.Dense(4)]\ndef __call__(self, x):\n  return self.layers[0](x)",
      "Net().init(key, x)",
    ),
  ),
  # A counter.
  Advice(
    errors.SetAttributeFrozenModuleError,
    _net("n: int = 0\ndef __call__(self, x):\n  self.n += 1\n  return x", "Net().init(key, x)"),
    ['right count = self.variable("state", "n", lambda: ...); count.value += ...'],
    ("right n =",),
    _net(
      "@nn.compact\ndef __call__(self, x):\n  count = self.variable('state', 'n', lambda: 0); count.value += 1\n"
      "  return x",
      "m = Net(); v = m.init(key, x); m.apply(v, x, mutable=['state'])",
    ),
  ),
  Advice(
    errors.SetAttributeFrozenModuleError,
    _net("n: int = 0\ndef __call__(self, x):\n  self.n = x.shape[0]\n  return x", "Net().init(key, x)"),
    ["right n = ...", "a field is a setting"],
  ),
  # A method without self.
  Advice(
    errors.ArgumentsError,
    _net("@nn.compact\ndef __call__(x):\n  return nn.Dense(3)(x)", "Net().init(key, x)"),
    ["right def __call__(self, x)"],
    ("take what",),
    _net("@nn.compact\ndef __call__(self, x):\n  return nn.Dense(3)(x)", "Net().init(key, x)"),
  ),
  Advice(
    errors.ArgumentsError,
    _net("@nn.compact\ndef __call__(x, train=False):\n  return nn.Dense(3)(x)", "Net().init(key, x, True)"),
    ["right def __call__(self, x, train=False)"],
    ("take True away",),
  ),
  Advice(
    errors.ArgumentsError,
    _net("@nn.compact\ndef __call__(x):\n  return nn.Dense(3)(x)", "Net().init(key, x=x)"),
    ["right def __call__(self, x)"],
    ("pass it once",),
  ),
  Advice(
    errors.ArgumentsError,
    _net("def setup():\n  pass\ndef __call__(self, x):\n  return x", "Net().init(key, x)"),
    ["right def setup(self)"],
  ),
  Advice(
    errors.ArgumentsError,
    _net("def __call__(me, x):\n  return x", "Net().init(key, x, True)"),
    ["too much away"],
    ("self, me",),
  ),
  # Sequential: one list, of layers that have their settings.
  Advice(
    errors.ArgumentsError,
    "nn.Sequential(nn.Dense(4), nn.relu).init(key, x)",
    ["right Sequential([Dense(...), "],
    ("away",),
    "nn.Sequential([nn.Dense(4), nn.relu]).init(key, x)",
  ),
  Advice(
    errors.AssignSubModuleError,
    "nn.Sequential([nn.Dense, nn.relu]).init(key, x)",
    ["the class Dense in its layers", "right Dense(...)"],
    ("@nn.compact", "wrong"),
    "nn.Sequential([nn.Dense(4), nn.relu]).init(key, x)",
  ),
  Advice(
    errors.MergeParamError,
    "nn.Sequential([nn.Dense(4), nn.Dropout(0.5)]).init(key, x)",
    ["right Dropout(..., deterministic=not train)", "Sequential calls it"],
    ("Dropout(...)(x",),
    "nn.Sequential([nn.Dense(4), nn.Dropout(0.5, deterministic=True)]).init(key, x)",
  ),
  Advice(
    errors.MergeParamError,
    "class Net(nn.Sequential): pass\nNet([nn.Dense(4), nn.BatchNorm()]).init(key, x)",
    ["right BatchNorm(..., use_running_average=not train)", "Net calls it"],
    ("BatchNorm(...)(x",),
  ),
  Advice(
    errors.ArgumentsError,
    "nn.Sequential([nn.Dense(4), nn.Dropout(0.5)]).init(key, x, deterministic=True)",
    ["Sequential passes it on to this layer", "constructor of the one that takes it"],
    ("take it away",),
    "nn.Sequential([nn.Dense(4), nn.Dropout(0.5, deterministic=True)]).init(key, x)",
  ),
  # Keys and collections, which init and apply take by name.
  *(
    Advice(
      errors.ArgumentsError,
      _drops(f"m.apply(v, x, True, {given})"),
      ['right model.apply(variables, ..., rngs={"dropout": key})'],
      ("away",),
      _drops("m.apply(v, x, True, rngs={'dropout': key})"),
    )
    for given in ("key", "jax.random.PRNGKey(0)", "dropout=key", "dropout_rng=key", "rng={'dropout': key}")
    + ("{'params': key, 'dropout': key}",)
  ),
  Advice(
    errors.ArgumentsError,
    _drops("m.init(key, x, True, key)"),
    ['right model.init({"params": key, "dropout": key}, ...)'],
    ("away", "model.apply"),
    _drops("m.init({'params': key, 'dropout': key}, x, True)"),
  ),
  *(
    Advice(
      errors.ArgumentsError,
      _normed(f"m.apply(v, x, True, {given})"),
      ["right model.apply(variables, ..., mutable=['batch_stats'])"],
      ("away",),
      _normed("m.apply(v, x, True, mutable=['batch_stats'])"),
    )
    for given in ("['batch_stats']", "mutables=['batch_stats']")
  ),
  Advice(
    errors.ArgumentsError, _normed("m.apply(v, x, True, 3)"), ["take 3 away"], ("rngs", "mutable=", "right")
  ),
  # A field is annotated.
  *(
    Advice(
      errors.ArgumentsError,
      _sized("features = 4", call),
      ["'features' stands in the class Net without a type", "right features: int = ..."],
      ("away",),
      _sized("features: int = 4", call),
    )
    for call in ("Net(features=8)", "Net(8)")
  ),
  Advice(
    errors.ArgumentsError,
    _sized("features: int = 4\nother = 3", "Net(8, 9, 10)"),
    ["take 9, 10 away"],
    ("without a type",),
  ),
  # A method that is called without variables.
  *(
    Advice(
      errors.NoSuchAttributeError,
      _encoder(f"m{call}(x)"),
      [f"right model.bind(variables){call}(...)", f"model.apply(variables, ...{method})"],
      ("variables).layer", "bind(variables).helper", "lambda"),
      _encoder(f"m.bind(v){call}(x)"),
    )
    for call, method in ((".encode", ", method='encode'"), ("", ""))
  ),
  # The fields of a class.
  Advice(
    errors.FieldsError,
    "class Net(nn.Module):\n  sizes: list = [4, 5]",
    ["line <program>:1", "right sizes: ... = (4, 5)"],
    ("default_factory",),
    "class Net(nn.Module):\n  sizes: tuple = (4, 5)",
  ),
  Advice(
    errors.FieldsError,
    "class Net(nn.Module):\n  sizes: dict = {}",
    ["dataclasses.field(default_factory=lambda: ...)"],
    ("()",),
    "import dataclasses\nclass Net(nn.Module):\n  sizes: dict = dataclasses.field(default_factory=lambda: {})",
  ),
  *(
    Advice(
      errors.FieldsError,
      f"class Base(nn.Module):\n  rate: float = 0.1\nclass Net(Base):\n  features: int\nNet({call})",
      ["right features: ... = ...", "class Net(Base, kw_only=True)"],
      ("list",),
      f"class Base(nn.Module):\n  rate: float = 0.1\nclass Net(Base, kw_only=True):\n  features: int\nNet({call})",
    )
    for call in ("features=4", "0.2, features=4")
  ),
  # Names that are misspelt, and those that are not.
  Advice(
    errors.ModifyScopeVariableError,
    _normed("m.apply(v, x, True, mutable=['batchstats'])"),
    ["mutable=['batch_stats']"],
    ("batchstats",),
    _normed("m.apply(v, x, True, mutable=['batch_stats'])"),
  ),
  Advice(
    errors.ScopeParamNotFoundError,
    _net(
      "n: int\n@nn.compact\ndef __call__(self, x):\n  for i in range(self.n): x = nn.Dense(3)(x)\n  return x",
      "Net(3).apply(Net(2).init(key, x), x)",
    ),
    ["no parameters for 'Dense_2'", "There: Dense_0, Dense_1."],
    ("Did you mean",),
  ),
  Advice(
    errors.InvalidInstanceModuleError,
    "m = nn.Dense(3); v = m.init(key, x); nn.check(v, m, x)",
    ["nn.check takes a module first", "right nn.check(model, variables, x)"],
    ("wrong", "its class"),
    "m = nn.Dense(3); v = m.init(key, x); found = nn.check(m, v, x)",
  ),
  # Names in a loop.
  Advice(
    errors.ScopeNameTypeError,
    _loop("nn.Dense(3, name=i)"),
    ['right f"layer_{i}" in its place'],
    ("'0' in its place",),
    _loop('nn.Dense(3, name=f"layer_{i}")'),
  ),
  Advice(
    errors.NameInUseError,
    _loop("nn.Dense(3, name='layer')"),
    ['right name=f"layer_{i}"', "made once, before the loop"],
    ("give one of the two",),
    _loop('nn.Dense(3, name=f"layer_{i}")'),
  ),
  Advice(
    errors.NameInUseError,
    "import functools\n"
    + _net(
      "@nn.compact\ndef __call__(self, x):\n"
      "  for layer in map(functools.partial(nn.Dense, name='layer'), (3, 4)): x = layer(x)\n  return x",
      "Net().init(key, x)",
    ),
    ['right name=f"layer_{i}"', "made once, before the loop"],
    ("give one of the two",),
  ),
  Advice(
    errors.NameInUseError,
    _loop("nn.relu", "[nn.Dense(3, name='a')(x), nn.Dense(3, name='a')(x)]"),
    ["give one of the two another name"],
    ("loop",),
  ),
]


@pytest.mark.parametrize("advice", ADVICE, ids=str)
def test_advice(advice: Advice) -> None:
  advice.holds()
