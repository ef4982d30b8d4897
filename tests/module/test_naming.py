"""How modules and variables get their names, and where two may not share one."""

from __future__ import annotations

from typing import Any

from oracle import KEY, X, as_flax, raises_as_flax

DENSE = {"kernel": (4, 4), "bias": (4,)}  # what `nn.Dense(4)` makes for X


@as_flax(((3, 4), {"params": {"Dense_0": DENSE, "Dense_1": DENSE}}))
def test_instance_called_twice_is_one(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      d = nn.Dense(4)
      e = nn.Dense(4)
      return d(e(d(x)))

  return C().init_with_output(KEY, X)


@as_flax(
  {
    "one": {"params": {"a": DENSE}},
    "twice the same": {"params": {"a": DENSE}},
    "two": {"params": {"a": DENSE, "b": DENSE}},
    "in two": {"params": {"a": {"a": DENSE}}},
    "in a list": {"params": {"a": {"layers_0": DENSE, "layers_3": {"kernel": (4, 3), "bias": (3,)}}}},
  }
)
def test_modules_passed_as_fields(nn):

  class C(nn.Module):
    a: Any
    b: Any = None

    @nn.compact
    def __call__(self, x):
      return self.b(self.a(x)) if self.b else self.a(x)

  d = nn.Dense(4)
  models = {
    "one": C(d),
    "twice the same": C(d, d),
    "two": C(nn.Dense(4, name="q"), nn.Dense(4)),
    "in two": C(C(d), C(d)),
    "in a list": C(nn.Sequential([d, nn.relu, d, nn.Dense(3)])),
  }
  return {name: model.init(KEY, X) for name, model in models.items()}


@as_flax(((3, 4), {"params": {"Dense_0": DENSE, "Dense_1": DENSE, "C_2": {"a": DENSE}, "zz": DENSE}}))
def test_modules_passed_on_in_compact(nn):

  class C(nn.Module):
    a: Any

    @nn.compact
    def __call__(self, x):
      return self.a(x)

  class D(nn.Module):
    @nn.compact
    def __call__(self, x):
      d = nn.Dense(4)
      return (
        C(d)(x) + C(nn.Dense(4))(x) + C(nn.Dense(4, parent=None))(x) + C(nn.Dense(4, name="zz"))(x) + d(x)
      )

  return D().init_with_output(KEY, X)


@raises_as_flax("NameInUseError")
def test_explicit_name_twice(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      nn.Dense(2, name="a")(x)
      return nn.Dense(2, name="a")(x)

  return C().init(KEY, X)


@as_flax({"params": {"a": {"kernel": (4, 2), "bias": (2,)}}})
def test_submodule_named_as_nothing_else(nn):

  class C(nn.Module):
    a: int = 2

    @nn.compact
    def __call__(self, x):
      return nn.Dense(2, name="a")(x)

  return C().init(KEY, X)


@raises_as_flax("NameInUseError")
def test_submodule_named_as_a_parameter(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      self.param("a", nn.initializers.ones, (1,))
      return nn.Dense(2, name="a")(x)

  return C().init(KEY, X)


@raises_as_flax("NameInUseError")
def test_variable_name_twice(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      self.param("a", nn.initializers.ones, (1,))
      self.variable("st", "a", lambda: 1.0)
      return self.param("a", nn.initializers.ones, (1,))

  return C().init(KEY, X)


@as_flax(((3, 4), {"params": {"up": {"Dense_0": DENSE}, "down": {"Dense_0": DENSE}}}))
def test_compact_name_scopes(nn):

  class C(nn.Module):
    @nn.compact_name_scope
    def up(self, x):
      return nn.Dense(4)(x)

    @nn.compact_name_scope
    def down(self, x):
      return nn.Dense(4)(x)

    def __call__(self, x):
      return self.up(x) + self.down(x)

  return C().init_with_output(KEY, X)


@as_flax(((3, 4), {"params": {"up": {"Dense_0": DENSE}, "Dense_0": DENSE}}))
def test_compact_name_scope_beside_compact(nn):

  class C(nn.Module):
    @nn.compact_name_scope
    def up(self, x):
      return nn.Dense(4)(x)

    @nn.compact
    def __call__(self, x):
      return self.up(x) + nn.Dense(4)(x) + self.up(x)

  return C().init_with_output(KEY, X)


@as_flax(
  (
    (3, 3),
    {"params": {"Dense_0": {"kernel": (4, 5), "bias": (5,)}, "Dense_1": {"kernel": (5, 3), "bias": (3,)}}},
  )
)
def test_two_compact_methods(nn):

  class C(nn.Module):
    @nn.compact
    def a(self, x):
      return nn.Dense(3)(x)

    @nn.compact
    def __call__(self, x):
      return self.a(nn.Dense(5)(x))

  return C().init_with_output(KEY, X)


@as_flax(
  {
    "with its child": ((3, 2), {"params": {"Dense_0": {"kernel": (4, 2), "bias": (2,)}}}),
    "and one of its own": ((3, 3), {"params": {"w": (1,), "kernel": (4, 3), "bias": (3,)}}),
  }
)
def test_share_scope_in_setup(nn):

  class D(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(2)(x)

  class C(nn.Module):
    def setup(self):
      self.d = D()
      nn.share_scope(self, self.d)

    def __call__(self, x):
      return self.d(x)

  class F(nn.Module):
    a: Any

    def setup(self):
      nn.share_scope(self, self.a)

    @nn.compact
    def __call__(self, x):
      self.param("w", nn.initializers.ones, (1,))
      return self.a(x)

  return {
    "with its child": C().init_with_output(KEY, X),
    "and one of its own": F(nn.Dense(3)).init_with_output(KEY, X),
  }


@as_flax(((3, 2), {"params": {"d": {"kernel": (4, 2), "bias": (2,)}}}))
def test_one_module_as_two_attributes(nn):

  class A(nn.Module):
    def setup(self):
      self.d = nn.Dense(2)
      self.e = self.d

    def __call__(self, x):
      return self.e(x)

  return A().init_with_output(KEY, X)


@as_flax(((3, 2), {"params": {"foo": {"kernel": (4, 2), "bias": (2,)}}}))
def test_explicit_name_in_setup(nn):

  class A(nn.Module):
    def setup(self):
      self.d = nn.Dense(2, name="foo")

    def __call__(self, x):
      return self.d(x)

  return A().init_with_output(KEY, X)


@as_flax(((3, 4), {"params": {"b": DENSE}}))
def test_unused_setup_submodule_makes_nothing(nn):

  class A(nn.Module):
    lazy_: Any = None

    def setup(self):
      self.a = nn.Dense(3)
      self.b = nn.Dense(4)

    def __call__(self, x):
      return self.b(x)

  return A().init_with_output(KEY, X)
