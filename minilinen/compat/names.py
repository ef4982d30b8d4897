"""May be skipped: which module of minilinen stands for which of Flax's, and where Flax's other names are.

A module of Flax's shows, beside its own names, those that its file imports, and projects import them from there. Here
stands where each of them is. What minilinen has no like for is named with what to use instead.
"""

from __future__ import annotations

LINEN = "flax.linen"
CORE = "flax.core"
ERRORS = "flax.errors"
ROOTS = (LINEN, CORE, ERRORS)

_words = str.split

MODULES = {
  LINEN: "minilinen",
  CORE: "minilinen.core",
  ERRORS: "minilinen.errors",
  "flax.core.partial_eval": "minilinen.core.run",
  "flax.core.nn": "minilinen.core.nn",
  **{
    f"flax.core.nn.{name}": f"minilinen.core.nn.{name}"
    for name in ("attention", "linear", "normalization", "stochastic")
  },
  **{
    f"{CORE}.{name}": f"minilinen.core.{name}"
    for name in _words("axes_scan frozen_dict lift meta scope spmd tracers variables")
  },
  **{
    f"{LINEN}.{name}": f"minilinen.{name}"
    for name in _words("""activation attention batch_apply combinators dtypes fp8_ops initializers kw_only_dataclasses
      linear module normalization partitioning pooling recurrent spmd stochastic summary transforms""")
  },
}
"""The module of minilinen for each of Flax's."""

PACKAGES = frozenset({LINEN, CORE, "flax.core.nn"})

SHOWN = {LINEN: {"meta": f"{CORE}.meta"}}
"""Modules that a namespace of Flax's shows besides those in it."""

OURS_ALONE = frozenset(_words("Spec Trace check config record replay_key trace"))
"""Names of minilinen's that Linen lacks: `from flax.linen import *` must not hide a user's `trace`."""

ELSEWHERE = {
  "minilinen": """Conv Dense DenyList FrozenDict Module Variable compact default_kernel_init map_variables nowrap
    promote_dtype sigmoid tanh""",
  "minilinen.core": """DenyList FrozenDict Scope Variable apply axes_scan bind filter_to_set freeze group_collections
    in_filter init intersect_filters is_filter_empty lazy_init lift meta subtract_filters tracers unfreeze
    union_filters""",
  "minilinen.core.filters": "CollectionFilter PRNGSequenceFilter MutableVariableDict VariableDict",
  "minilinen.core.frozen_dict": "FrozenVariableDict",
  "minilinen.module": "wrap_method_once",
  "minilinen.core.rng": "LazyRng",
  "minilinen.layers.dtypes": "Initializer PrecisionLike promote_dtype",
  "minilinen.functions.initializers": "default_kernel_init",
  "flax.configurations": "config",
  "flax.ids": "FlaxId uuid",
  "flax.traverse_util": "flatten_dict unflatten_dict",
  "flax.typing": """Array ArrayPytree Axes ConvGeneralDilatedT DotGeneralT Dtype InOutAxis InOutScanAxis
    LaxPadding LogicalNames LogicalPartitionSpec LogicalPartitionSpecPytree MutableCollection
    PRNGFoldable PRNGKey PaddingLike PartitionSpecPytree RNGSequences Shape Sharding""",
  "__future__": "annotations",
  "abc": "ABC abstractmethod",
  "collections.abc": "Callable Collection Iterable Iterator Mapping Sequence",
  "dataclasses": "field",
  "functools": "partial",
  "jax": "custom_jvp custom_vjp eval_shape",
  "jax.core": "ShapedArray",
  "jax.experimental.layout": "Format",
  "jax.numpy": "tanh",
  "types": "MappingProxyType",
  "typing": "Any Generic Literal Optional Protocol Tuple TypeVar Union cast overload",
}
"""Where names are that files of Flax's import from elsewhere: looked for in this order."""

ANY = frozenset(
  _words("""Annotation Args CarryHistory DType DTypeLike Default FieldName Filter Interceptor Kwargs NextGetter
    Output PromoteDtypeFn Target TransformTarget""")
)
"""Types of Flax's for annotations, which are `typing.Any` here."""

IMPORTED = {
  **{name: name for name in _words("""collections contextlib contextvars dataclasses enum flax functools hashlib inspect
    io itertools jax opt_einsum re rich sys threading typing warnings weakref yaml""")},
  **{path.rpartition(".")[2]: path for path in MODULES if path.count(".") == 2},
  "core": CORE, "errors": ERRORS, "nn": LINEN, "linen_module": f"{LINEN}.module", "module_lib": f"{LINEN}.module",
  "serialization": "flax.serialization", "struct": "flax.struct", "traceback_util": "flax.traceback_util",
  "traverse_util": "flax.traverse_util", "jnp": "jax.numpy", "lax": "jax.lax", "np": "numpy",
  "random": "jax.random", "tree_util": "jax.tree_util", "logging": "absl.logging", "lu": "jax.extend.linear_util",
  "jex_core": "jax.extend.core", "tpe": "typing_extensions",
}  # fmt: skip
"""Modules that files of Flax's import, under the names that they have there."""

_TYPE = "it is a type variable of Flax's own: write typing.TypeVar or typing.Any."
_INSIDE = "it is how Flax is made inside, and minilinen is made otherwise."
_NNX = (
  "Flax's other module system, NNX, places its arrays by it; for Linen's variables there is nn.get_sharding."
)
_LIFT = "nn.transforms.lift_transform lifts a class or a method; each transform does so by itself too."

USE = {
  f"{LINEN}.module": {
    "capture_call_intermediates": "pass capture_intermediates=True to apply: it means the same.",
    "run_interceptors": "nn.intercept_methods lets a function stand in for every call of a with block.",
    "ModuleBase": "nn.Module is the class of all modules.",
    "module_field": "annotate the field with nn.Module: what is assigned in it becomes a submodule.",
    "wrap_descriptor_once": "nn.nowrap marks what shall stay as it is.",
  },
  f"{LINEN}.transforms": {
    "clean_clone": "module.clone() gives a copy without variables.",
    "fork_rngs": "split_rngs of the lifted transforms, and nn.fold_rngs, say what happens to keys.",
    **dict.fromkeys(
      [
        "decorator_lift_transform",
        "decorator_lift_transform_cached",
        "lift_direct_transform",
        "lift_transform_cached",
        "module_class_lift_transform",
        "module_class_lift_transform_cached",
      ],
      _LIFT,
    ),
  },
  f"{LINEN}.summary": dict.fromkeys(
    ("Row", "Table"), "viz.tabulate(trace).to_rows() gives the rows of the table, nn.tabulate its text."
  ),
  f"{LINEN}.fp8_ops": {"CAN_USE_EARRAY": _INSIDE},
  f"{CORE}.spmd": dict.fromkeys(
    _words("apply_rules composite_rules from_sharding_rules get_mesh get_pspec map_sharding shard_value"),
    _NNX,
  ),
  f"{CORE}.frozen_dict": dict.fromkeys(
    ("FrozenKeysView", "FrozenValuesView"), "collections.abc has KeysView and ValuesView, which these are."
  ),
  f"{CORE}.lift": {"TransformContext": _LIFT},
  f"{CORE}.meta": dict.fromkeys(
    ("get_global_mesh", "global_mesh_defined"), "jax.sharding.get_abstract_mesh() gives the mesh in force."
  ),
}
"""What to use for names that minilinen has no like for."""

INSIDE = frozenset(
  _words("""CompactNameScope CountsHolder Descriptor DescriptorWrapper InstancePlaceholder ParentDescriptor
    SetupState TestScope ThreadLocalStack VariablePlaceholder build_shaped_array child_rng_token
    create_descriptor_wrapper get_module_scopes id_fn no_flag set_from_dict set_module_scopes
    tree_map_rngs tuple_init tuple_reduce earray pe pxla""")
)


def use(module: str, name: str) -> str:
  """What to use for a name that a module lacks, "" if it is none of Flax's."""
  known = USE.get(module, {})
  if name in known:
    return known[name]
  if name.startswith("_"):
    return "it is private to Flax, and minilinen is made otherwise inside."
  return _INSIDE if name in INSIDE else _TYPE if name in _TYPE_VARIABLES else ""


_TYPE_VARIABLES = frozenset(_words("A B C K M ModuleT T TAxisMetadata V"))
