"""Fields of a module: inheritance, keyword-only, post-init, containers, frozenness, properties."""

from __future__ import annotations

from oracle import KEY, X, as_flax, raises_as_flax

PARTS = {
  "w": (2,),
  "l_0": {"kernel": (4, 2), "bias": (2,)},
  "l_1": {"kernel": (4, 3), "bias": (3,)},
  "d_a": {"kernel": (4, 2), "bias": (2,)},
  "d_b_0": {"kernel": (4, 3), "bias": (3,)},
  "d_b_1_0": {"kernel": (4, 4), "bias": (4,)},
  "t_0": {"kernel": (4, 1), "bias": (1,)},
}


@as_flax((((3, 2), (3, 3), (3, 2), (3, 3), (3, 4), (3, 1), (2,)), {"params": PARTS}))
def test_containers_of_submodules_in_setup(nn):

  class C(nn.Module):
    def setup(self):
      self.l = [nn.Dense(2), nn.Dense(3)]
      self.d = {"a": nn.Dense(2), "b": [nn.Dense(3), (nn.Dense(4),)]}
      self.t = (nn.Dense(1),)
      self.w = self.param("w", nn.initializers.normal(), (2,))

    def __call__(self, x):
      return (
        self.l[0](x),
        self.l[1](x),
        self.d["a"](x),
        self.d["b"][0](x),
        self.d["b"][1][0](x),
        self.t[0](x),
        self.w,
      )

  return C().init_with_output(KEY, X)


@as_flax(
  {
    "output": (3, 5),
    "params": {"Dense_1": {"kernel": (4, 3), "bias": (3,)}, "Dense_0": {"kernel": (3, 5), "bias": (5,)}},
    "params by default": {
      "Dense_1": {"kernel": (4, 3), "bias": (3,)},
      "Dense_0": {"kernel": (3, 2), "bias": (2,)},
    },
  }
)
def test_subclass_adds_fields_and_calls_super(nn):

  class A(nn.Module):
    n: int

    @nn.compact
    def __call__(self, x):
      return nn.Dense(self.n)(x)

  class B(A):
    m: int = 2

    @nn.compact
    def __call__(self, x):
      return nn.Dense(self.m)(super().__call__(x))

  y, variables = B(3, m=5).init_with_output(KEY, X)
  return {"output": y, **variables, "params by default": B(3).init(KEY, X)["params"]}


@as_flax((2, 6))
def test_keyword_only_fields(nn):

  class A(nn.Module, kw_only=True):
    a: int = 1
    b: int

    def __call__(self):
      return self.a * self.b

  return (A(b=2).apply({}), A(a=3, b=2).apply({}))


@as_flax(6)
def test_attribute_set_before_post_init(nn):

  class A(nn.Module):
    a: int = 1

    def __post_init__(self):
      self.b = self.a * 2
      super().__post_init__()

    def __call__(self):
      return self.b

  return A(3).apply({})


@raises_as_flax("IncorrectPostInitOverrideError")
def test_post_init_without_super(nn):

  class A(nn.Module):
    def __post_init__(self):
      self.b = 2

    @nn.compact
    def __call__(self, x):
      return x * self.b

  return A().apply({}, X)


@as_flax(
  {
    "cloned wider": {"kernel": (4, 3), "bias": (3,)},
    "copied": {"kernel": (4, 2), "bias": (2,)},
    "as the clone": (True, True),
  }
)
def test_clone_copy_equality_and_hash(nn):
  m = nn.Dense(2)
  return {
    "cloned wider": m.clone(features=3).init(KEY, X)["params"],
    "copied": m.copy(name="z").init(KEY, X)["params"],
    "as the clone": (m == m.clone(), hash(m) == hash(m.clone())),
  }


@as_flax({"kernel": (4, 3), "bias": (3,)})
def test_an_instance_that_is_not_bound_takes_another_field(nn):
  m = nn.Dense(2)
  m.features = 3
  return m.init(KEY, X)["params"]


@raises_as_flax("SetAttributeInModuleSetupError")
def test_field_is_frozen_in_setup(nn):

  class C(nn.Module):
    f: int = 1

    def setup(self):
      self.f = 2

    def __call__(self, x):
      return x

  return C().init(KEY, X)


@raises_as_flax("SetAttributeFrozenModuleError")
def test_module_is_frozen_in_compact(nn):

  class C(nn.Module):
    @nn.compact
    def __call__(self, x):
      self.z = 1
      return x

  return C().init(KEY, X)


@as_flax(((3, 2), {"params": {"d": {"kernel": (4, 2), "bias": (2,)}}}))
def test_property_reaches_setup(nn):

  class C(nn.Module):
    def setup(self):
      self.d = nn.Dense(2)

    @property
    def dd(self):
      return self.d

    @property
    def feats(self):
      return self.dd.features

    def __call__(self, x):
      return self.dd(x) * self.feats

  return C().init_with_output(KEY, X)


@raises_as_flax("DescriptorAttributeError")
def test_property_that_fails(nn):

  class C(nn.Module):
    @property
    def dd(self):
      return self.nonono

    def __call__(self, x):
      return self.dd

  return C().init_with_output(KEY, X)


@raises_as_flax("AttributeError")
def test_attribute_that_is_missing(nn):

  class A(nn.Module):
    def setup(self):
      self.d = nn.Dense(2)

    def __call__(self, x):
      return self.nothere

  return A().init(KEY, X)


@raises_as_flax("ReservedModuleAttributeError")
def test_reserved_field_name(nn):

  class C(nn.Module):
    name: int = 3
