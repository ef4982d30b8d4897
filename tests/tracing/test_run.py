"""`nn.trace` and `nn.record`: what they run, and what they leave behind. No module is involved."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

import minilinen as nn
from minilinen import errors, tracing
from minilinen.tracing import Key, Opaque, Read, Spec, SpecError, Trace, current, replay_key
from minilinen.tracing.recording import record, trace
from minilinen.tracing.spec import describe


def touch(x: Any, name: str = "x") -> Any:
  """Emits an event, as a module would."""
  recorder = current()
  if recorder is not None:
    recorder.event(Read, (), collection="params", name=name, value=describe(x))
  return x


def names(found: Trace) -> list[str]:
  return [r.name for r in found.events(Read)]


def test_arguments_become_abstract_and_all_else_stays():
  seen: dict[str, Any] = {}

  def fn(**kwargs: Any) -> Any:
    seen.update(kwargs)
    return kwargs["a"] + kwargs["b"], kwargs["n"]

  def function() -> None: ...

  found = trace(fn)(
    a=jnp.ones((2, 3)), b=np.ones((3,), np.float32), c="f32[b,2]", d=jax.ShapeDtypeStruct((1,), jnp.int8),
    n=3, flag=True, s="text", f=function, none=None, nested={"x": ["u32[2]", 1.5]},
  )  # fmt: skip
  assert all(isinstance(seen[name], Tracer) for name in "abcd")
  assert isinstance(seen["nested"]["x"][0], Tracer)
  assert (seen["n"], seen["flag"], seen["s"], seen["f"], seen["none"]) == (3, True, "text", function, None)
  assert seen["nested"]["x"][1] == 1.5
  assert found.name == "fn"
  assert found.args == ()
  assert found.kwargs["c"] == Spec(("b", 2), "float32")
  assert isinstance(found.kwargs["f"], Opaque)
  assert found.result == (Spec((2, 3), "float32"), 3)
  assert found.error is None


def test_nothing_is_computed_or_allocated():
  def fn(x: Any) -> Any:
    return jnp.linalg.inv(x @ x) + jax.random.normal(jax.random.key(0), x.shape)

  before = {id(a) for a in jax.live_arrays()}
  found = trace(fn)("f32[1000000,1000000]")
  assert {id(a) for a in jax.live_arrays()} <= before
  assert str(found.result) == "f32[1000000,1000000]"


@pytest.mark.parametrize(
  "key", [jax.random.key(0), jax.random.PRNGKey(0), "key<fry>[]", "u32[2]", "key<rbg>[]"]
)
def test_keys_are_arguments_like_others(key: Any):
  found = trace(lambda k: jax.random.normal(jax.random.fold_in(k, 3), (2,)))(key)
  assert found.result == Spec((2,), "float32")


def test_the_jaxpr_is_that_of_the_run():
  def fn(x: Any) -> Any:
    return jnp.sin(x) * 2

  found = trace(fn)("f32[3]")
  assert str(found.jaxpr) == str(jax.make_jaxpr(fn)(jnp.ones(3)).jaxpr)
  assert Trace.from_json(found.to_json()).jaxpr is None
  assert Trace.from_json(found.to_json()) == found


def test_the_result_may_be_anything():
  class Thing: ...

  found = trace(lambda x: {"x": [x, None], "f": len, "n": 1, "t": Thing()})("f32[2]")
  assert found.result == {
    "x": [Spec((2,), "float32"), None],
    "f": Opaque("builtin_function_or_method", "len"),
    "n": 1,
    "t": Opaque("Thing", ""),
  }


def test_functions_that_jax_has_traced_already_are_traced_again():
  runs: list[int] = []

  @jax.jit
  def inner(x: Any) -> Any:
    runs.append(1)
    return touch(x) + 1

  inner(1.0)
  inner(1.0)
  assert len(runs) == 1
  assert names(trace(lambda x: inner(x))(1.0)) == ["x"]
  assert names(trace(inner)(1.0)) == ["x"]
  with record() as found:
    inner(1.0)
    inner(1.0)
  assert names(found) == ["x", "x"]
  assert len(runs) == 5
  inner(1.0)
  assert len(runs) == 5


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, jax.vmap, jax.grad, jax.linearize])
def test_events_inside_jax_transforms_are_seen_every_time(wrap: Any):
  wrapped = functools.partial(jax.linearize, touch) if wrap is jax.linearize else wrap(touch)
  x = jnp.ones(3) if wrap is jax.vmap else 1.0
  wrapped(x)
  for _ in range(2):
    assert "x" in names(trace(lambda v: jax.tree.leaves(wrapped(v))[0])(jnp.asarray(x)))
    with record() as found:
      wrapped(x)
    assert "x" in names(found)


def test_events_inside_loops_are_seen_every_time():
  def body(c: Any, x: Any) -> Any:
    return touch(c), x

  def fn(x: Any) -> Any:
    return jax.lax.scan(body, x, None, length=3)[0]

  fn(1.0)
  for _ in range(2):
    assert "x" in names(trace(fn)("f32[]"))


def test_an_exception_brings_the_partial_trace():
  def fn(x: Any) -> None:
    touch(x, "before")
    raise ValueError("wrong\nin detail")

  with pytest.raises(ValueError, match="wrong") as caught:
    trace(jax.jit(fn))("f32[2]")
  partial = caught.value.trace  # type: ignore[attr-defined]
  assert names(partial) == ["before"]
  assert partial.error == "ValueError: wrong"
  assert partial.result is None
  assert current() is None
  assert "ended by ValueError: wrong" in repr(partial)


def test_a_bad_spec_string_is_refused_before_anything_runs():
  with pytest.raises(SpecError, match=r"'f32\[2' is no array spec"):
    trace(touch)("f32[2")
  assert current() is None


def test_symbolic_sizes_reach_the_result():
  found = trace(lambda x, y: jnp.concatenate([x, y]).reshape(-1))("f32[a,3]", "f32[b,3]")
  assert found.result == Spec(("3*b + 3*a",), "float32") or found.result == Spec(("3*a + 3*b",), "float32")


def test_tracing_inside_a_jitted_function():
  inner: list[Trace] = []

  @jax.jit
  def outer(x: Any) -> Any:
    inner.append(trace(touch)(x))
    return x

  outer(jnp.ones(3))
  assert names(inner[0]) == ["x"]
  assert inner[0].result == Spec((3,), "float32")


def test_equal_runs_give_equal_traces():
  def fn(x: Any, n: int) -> Any:
    return touch(x * n)

  one, other = trace(fn)("f32[2]", 3), trace(fn)(np.ones(2, np.float32), 3)
  assert one == other
  assert one != trace(fn)("f32[2]", 4)


def test_a_traced_function_keeps_its_name():
  def fn() -> None:
    """Does nothing."""

  assert (trace(fn).__name__, trace(fn).__doc__) == ("fn", "Does nothing.")
  assert trace(functools.partial(touch, name="y"))(1.0).name == "touch"


def test_recording_does_not_change_what_runs():
  def fn(x: Any) -> Any:
    return jnp.sin(touch(x)) @ jax.random.normal(jax.random.key(1), (3, 2))

  x = jnp.arange(3.0)
  plain = fn(x)
  with record():
    recorded = fn(x)
    jaxpr = str(jax.make_jaxpr(fn)(x))
  assert np.array_equal(plain, recorded)
  assert jaxpr == str(jax.make_jaxpr(fn)(x))


def key_event(*steps: Any, served: str = "params") -> Key:
  return Key(order=0, span=-1, path=(), stream="dropout", served=served, counter=0, steps=steps)


def test_replaying_folds_and_splits():
  root = jax.random.key(7)
  # The first four bytes of SHA-1 over "ab" and the byte 1: "abc" and "a", "bc" fold alike, unless kept apart.
  alike = [key_event(("fold", "ab", "c", 1)), key_event(("fold", "a", "bc", 1))]
  apart = [key_event(("fold_sep", "ab", "c", 1)), key_event(("fold_sep", "a", "bc", 1))]
  one, other = (jax.random.key_data(replay_key(e, root)) for e in alike)
  assert np.array_equal(one, other)
  one, other = (jax.random.key_data(replay_key(e, root)) for e in apart)
  assert not np.array_equal(one, other)
  assert replay_key(key_event(), {"params": root}) is root
  keys = replay_key(key_event(("fold", "a", 0), ("split", 3), ("fold", 256), ("split", 2)), root)
  assert keys.shape == (3, 2)
  by_hand = replay_key(key_event(("fold", "a", 0)), root)
  by_hand = replay_key(key_event(("fold", 256)), jax.random.split(by_hand, 3)[1])
  assert np.array_equal(jax.random.key_data(keys[1, 0]), jax.random.key_data(jax.random.split(by_hand, 2)[0]))


def test_replaying_old_style_keys():
  root = jax.random.PRNGKey(3)
  typed = jax.random.wrap_key_data(root)
  event = key_event(("split", 3), ("fold", "a", 1))
  assert np.array_equal(replay_key(event, root), jax.random.key_data(replay_key(event, typed)))


def test_replaying_asks_for_the_root_key_of_the_stream():
  root = jax.random.key(0)
  for roots, known in (({"dropout": root}, "'dropout'"), ({}, "none"), ({"a": root, "b": root}, "'a', 'b'")):
    with pytest.raises(KeyError) as caught:
      replay_key(key_event(), roots)
    assert type(caught.value) is errors.NoSuchRootKeyError
    assert str(caught.value) == (
      f"the key that was drawn in '/' comes of the root key of the stream 'params', which is not among those given:"
      f" {known}. Give the key that the run had for it: replay_key(event, {{'params': key}})."
    )


def test_replaying_asks_for_the_step_of_each_loop():
  root = jax.random.key(0)
  once, twice = key_event(("step", 1), ("fold", "a", 1)), key_event(("step", 1), ("split", 2), ("step", -1))
  for event, steps, told, mend in (
    (once, (), "every step of a while_loop, and the number of the step is given for none", "steps=(0,)"),
    (twice, (), "every step of 2 loops, and the number of the step is given for none", "steps=(0, 0)"),
    (twice, (5,), "every step of 2 loops, and the number of the step is given for 1", "steps=(5, 0)"),
  ):
    with pytest.raises(ValueError, match="another in every step") as caught:
      replay_key(event, root, steps)
    assert type(caught.value) is errors.LoopStepMissingError
    assert told in str(caught.value) and str(caught.value).endswith(f"replay_key(event, roots, {mend}).")
    replay_key(event, root, eval(mend.removeprefix("steps=")))  # as it is advised


def test_replaying_takes_only_steps_that_are_some():
  for step in (("rotate", 3), ("split", "a"), ("fold_", "a")):
    with pytest.raises(ValueError, match="is no step of a derivation") as caught:
      replay_key(key_event(step), jax.random.key(0))
    assert type(caught.value) is errors.UnknownKeyStepError and repr(step) in str(caught.value)


def test_an_error_of_a_replayed_key_says_where_it_was_drawn():
  found = trace(nn.Dense(2).init)(jax.random.key(0), "f32[1,4]")
  with pytest.raises(errors.NoSuchRootKeyError, match=r"drawn in '/' \(.*test_run\.py:\d+ in test_an_error"):
    replay_key(found.events(Key)[0], {})


def test_only_a_function_can_be_traced():
  for given, said in ((3, "3"), (jnp.ones((99, 99)), "an instance of ArrayImpl"), (None, "None")):
    with pytest.raises(TypeError) as caught:
      trace(given)  # type: ignore[arg-type]
    assert type(caught.value) is errors.NotTraceableError
    assert f"takes a function that runs modules, as model.init, but got {said}." in str(caught.value)


def test_a_creation_says_what_made_the_variable_and_with_which_keys():
  def noise(stream: Any, size: int) -> Any:
    return jax.random.normal(stream("noise"), (size,)) + jax.random.normal(stream("noise"), (size,))

  class M(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
      self.make_rng("noise")
      self.variable("stats", "n", noise, self.make_rng, size=3)
      return nn.Dense(2)(x)

  trace = nn.trace(M().init)({"params": jax.random.key(0), "noise": jax.random.key(1)}, "f32[1,4]")
  n, kernel, bias = trace.events(tracing.Create)
  assert [trace.records[order].counter for order in n.keys] == [2, 3]
  assert n.initializer is not None and n.initializer.type.endswith("noise") and n.kwargs == {"size": 3}
  assert [(k.path, k.stream, k.counter) for k in map(trace.records.__getitem__, kernel.keys)] == [
    (("Dense_0",), "params", 1)
  ]
  assert (
    kernel.initializer.type.endswith(".variance_scaling.<locals>.init")
    and "mode=fan_in" in kernel.initializer.text
  )
  assert kernel.args == ((4, 2), tracing.Opaque("dtype", "float32")) and len(bias.keys) == 1
  assert Trace.from_json(trace.to_json()) == trace
  (name,) = trace.events(tracing.Name)
  assert (name.path, name.parent) == (("Dense_0",), tracing.ModuleRef("M", tracing.Path()))


def test_a_lift_says_whose_method_it_lifts():
  class Net(nn.Module):
    @nn.remat
    def inner(self, x: Any) -> Any:
      return x

    @nn.compact
    def __call__(self, x: Any) -> Any:
      y = nn.jit(nn.Dense)(2)(self.inner(x))
      return nn.remat(lambda self, y: y)(self, y)

  found = nn.trace(Net().init)(jax.random.key(0), "f32[1,4]")
  assert [(lift.kind, lift.module, lift.method) for lift in found.lifts] == [
    ("remat", "Net", "inner"), ("jit", "Dense", "__call__"), ("remat", "Net", "<lambda>"),
  ]  # fmt: skip
