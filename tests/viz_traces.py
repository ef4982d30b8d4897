"""Traces made by hand, for the tests of `viz`: whole models in the words of the trace, without running any."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from minilinen.tracing.events import Call, Create, Lift, Lifted, Run
from minilinen.tracing.recorder import Recorder
from minilinen.tracing.spec import Spec
from minilinen.tracing.trace import Trace


def f32(*shape: Any) -> Spec:
  """A float32 spec."""
  return Spec(shape, "float32")


class Builder:
  """Writes a trace as a model would: `call` is a module, `param` one of its variables."""

  def __init__(self) -> None:
    self.recorder = Recorder()
    self.path: tuple[str, ...] = ()
    self.lifts: list[tuple[tuple[int, ...], list[Lifted]]] = []

  @contextlib.contextmanager
  def run(self, module: str, name: str = "init", tree: int = 0) -> Iterator[None]:
    """One run."""
    with self.recorder.span(Run, (), name=name, module=module, tree=tree):
      yield

  @contextlib.contextmanager
  def call(
    self, name: str, module: str, x: Any, y: Any, method: str = "__call__", **kwargs: Any
  ) -> Iterator[None]:
    """A call of a submodule, or of the root if its name is empty."""
    above = self.path
    self.path = (*above, name) if name else above
    with self.recorder.span(
      Call, self.path, module=module, qualname=f"models.{module}", method=method,
      args=x if isinstance(x, tuple) else (x,), kwargs=kwargs,
    ) as draft:  # fmt: skip
      yield
      draft.set(result=y)
    self.path = above

  @contextlib.contextmanager
  def lift(
    self, kind: str, length: int | None, target: str, x: Any, y: Any, stacks: bool = True
  ) -> Iterator[None]:
    """A transform in the module that is being called; what is created inside is stacked outside."""
    stacked = (length,) if length is not None and stacks else ()
    with self.recorder.span(Lift, self.path, target=target, length=length, args=(x,)) as draft:
      draft.set(kind=kind)
      self.lifts.append((stacked, []))
      with self.recorder.body(draft, self.path):
        yield
      crossed = self.lifts.pop()[1]
      draft.set(result=y, variables=tuple(crossed))

  def leaf(self, name: str, module: str, x: Any, y: Any, **variables: Any) -> None:
    """A module with variables and nothing inside: shapes by name, `params` unless "collection__name"."""
    with self.call(name, module, x, y):
      for key, shape in variables.items():
        self.variable(key, shape)

  def variable(self, key: str, shape: tuple[int, ...]) -> None:
    """Creates a variable in the module that is being called."""
    collection, _, name = key.rpartition("__")
    collection = collection or "params"
    value = f32(*shape)
    self.recorder.event(Create, self.path, collection=collection, name=name, value=value)
    for stacked, crossed in reversed(self.lifts):
      inside, value = value, f32(*stacked, *value.shape)
      crossed.append(Lifted(self.path, collection, name, inside, value, True))

  def trace(self) -> Trace:
    """The trace so far."""
    return Trace(self.recorder.freeze())


def dense(b: Builder, name: str, x: Spec, features: int) -> Spec:
  """A Dense layer."""
  y = f32(*x.shape[:-1], features)
  b.leaf(name, "Dense", x, y, kernel=(x.shape[-1], features), bias=(features,))
  return y


def resnet50(batch: int = 8) -> Trace:
  """ResNet-50, with Flax's names and shapes."""
  b = Builder()

  def conv(name: str, x: Spec, features: int, size: int, stride: int = 1) -> Spec:
    y = f32(x.shape[0], x.shape[1] // stride, x.shape[2] // stride, features)
    b.leaf(name, "Conv", x, y, kernel=(size, size, x.shape[-1], features))
    return y

  def norm(name: str, x: Spec) -> None:
    c = (x.shape[-1],)
    b.leaf(name, "BatchNorm", x, x, scale=c, bias=c, batch_stats__mean=c, batch_stats__var=c)

  def block(name: str, x: Spec, features: int, stride: int) -> Spec:
    y = f32(x.shape[0], x.shape[1] // stride, x.shape[2] // stride, 4 * features)
    with b.call(name, "BottleneckResNetBlock", x, y):
      h = conv("Conv_0", x, features, 1)
      norm("BatchNorm_0", h)
      h = conv("Conv_1", h, features, 3, stride)
      norm("BatchNorm_1", h)
      h = conv("Conv_2", h, 4 * features, 1)
      norm("BatchNorm_2", h)
      if x.shape != y.shape:
        norm("norm_proj", conv("conv_proj", x, 4 * features, 1, stride))
    return y

  with b.run("ResNet"), b.call("", "ResNet", f32(batch, 224, 224, 3), f32(batch, 1000), train=True):
    x = conv("conv_init", f32(batch, 224, 224, 3), 64, 7, 2)
    norm("bn_init", x)
    x, number = f32(batch, 56, 56, 64), 0
    for stage, blocks in enumerate((3, 4, 6, 3)):
      for i in range(blocks):
        x = block(f"BottleneckResNetBlock_{number}", x, 64 * 2**stage, 2 if stage and not i else 1)
        number += 1
    dense(b, "Dense_0", f32(batch, 2048), 1000)
  return b.trace()


def _transformer_block(b: Builder, x: Spec, heads: int = 8) -> None:
  d = x.shape[-1]
  split = f32(*x.shape[:-1], heads, d // heads)
  b.leaf("LayerNorm_0", "LayerNorm", x, x, scale=(d,), bias=(d,))
  with b.call(
    "MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention", (x, x, x), x, mask=f32(2, 1, 64, 64)
  ):
    for name in ("query", "key", "value"):
      b.leaf(name, "DenseGeneral", x, split, kernel=(d, heads, d // heads), bias=(heads, d // heads))
    b.leaf("out", "DenseGeneral", split, x, kernel=(heads, d // heads, d), bias=(d,))
  b.leaf("LayerNorm_1", "LayerNorm", x, x, scale=(d,), bias=(d,))
  with b.call("MlpBlock_0", "MlpBlock", x, x):
    dense(b, "Dense_0", x, 4 * d)
    dense(b, "Dense_1", f32(*x.shape[:-1], 4 * d), d)
  b.leaf("Dropout_0", "Dropout", x, x)


def transformer(layers: int = 12, scanned: bool = False, d: int = 512) -> Trace:
  """A transformer, unrolled or scanned over its layers with remat."""
  b = Builder()
  tokens, x = Spec((2, 64), "int32"), f32(2, 64, d)
  with b.run("Transformer"), b.call("", "Transformer", tokens, f32(2, 64, 32000), train=False):
    b.leaf("Embed_0", "Embed", tokens, x, embedding=(32000, d))
    if scanned:
      with (
        b.call("layers", "ScanCheckpointEncoderBlock", (x, None), (x, None)),
        b.lift("scan", layers, "EncoderBlock.__call__", x, (x, None)),
        b.lift("remat", None, "EncoderBlock.__call__", x, (x, None)),
      ):
        _transformer_block(b, x)
    else:
      for i in range(layers):
        with b.call(f"encoderblock_{i}", "EncoderBlock", x, x):
          _transformer_block(b, x)
    b.leaf("encoder_norm", "LayerNorm", x, x, scale=(d,), bias=(d,))
    dense(b, "logits", x, 32000)
  return b.trace()


def lstm(steps: int = 20, hidden: int = 128) -> Trace:
  """An LSTM that is scanned over time, between an embedding and a head."""
  b = Builder()
  tokens, h = Spec((4, steps), "int32"), f32(4, hidden)
  carry = (h, h)
  with b.run("Classifier"), b.call("", "Classifier", tokens, f32(4, 2)):
    b.leaf("embed", "Embed", tokens, f32(4, steps, hidden), embedding=(10000, hidden))
    y = (carry, f32(4, steps, hidden))
    with (
      b.call("cell", "ScanLSTMCell", (carry, f32(4, steps, hidden)), y),
      b.lift("scan", steps, "LSTMCell.__call__", carry, y, stacks=False),
    ):
      for gate in "ifgo":
        b.leaf(f"i{gate}", "Dense", h, h, kernel=(hidden, hidden))
        b.leaf(f"h{gate}", "Dense", h, h, kernel=(hidden, hidden), bias=(hidden,))
    dense(b, "head", h, 2)
  return b.trace()


def deep(levels: int) -> Trace:
  """Modules nested in each other, so many levels."""
  b = Builder()
  x = f32(1, 4)
  with b.run("Deep"), contextlib.ExitStack() as stack:
    stack.enter_context(b.call("", "Deep", x, x))
    for i in range(levels):
      stack.enter_context(b.call(f"inner_{i}", "Deep", x, x))
    dense(b, "Dense_0", x, 4)
  return b.trace()


def wide(modules: int) -> Trace:
  """A tree of so many modules, none like its neighbour."""
  b = Builder()
  x = f32(1, 4)
  with b.run("Wide"), b.call("", "Wide", x, x):
    for i in range(modules // 10):
      with b.call(f"group_{i}", "Group", x, x):
        for j in range(9):
          dense(b, f"Dense_{j}", x, 1 + (i + j) % 7)
  return b.trace()
