"""May be skipped: every mistake that minilinen knows, as a class that builds its own message.

`base` lays all messages out alike; the classes stand by theme in `runs`, `scopes`, `modules`, `asked`, `lifts`,
`loops`, `initial`, `lift_warnings`, `axes`, `dicts`, `values`, `exchanged` and `findings`, those of questions to a
trace in `minilinen.tracing.errors`. Their names and first arguments are Flax's; what else a class takes is optional and
makes its message better. This file lists them, so that each is `minilinen.errors.X` to whoever catches, prints or
pickles it.
"""

from minilinen.errors.asked import MergeParamError as MergeParamError
from minilinen.errors.asked import NoCallMethodError as NoCallMethodError
from minilinen.errors.asked import NoSuchAttributeError as NoSuchAttributeError
from minilinen.errors.asked import PerturbationError as PerturbationError
from minilinen.errors.asked import PlainMethodError as PlainMethodError
from minilinen.errors.asked import UnboundModuleError as UnboundModuleError
from minilinen.errors.axes import AxesCollectionError as AxesCollectionError
from minilinen.errors.axes import DuplicateSpecError as DuplicateSpecError
from minilinen.errors.axes import LogicalAxisError as LogicalAxisError
from minilinen.errors.axes import NoModuleCalledError as NoModuleCalledError
from minilinen.errors.axes import PartitioningUnspecifiedError as PartitioningUnspecifiedError
from minilinen.errors.axes import RemovedAxisError as RemovedAxisError
from minilinen.errors.base import FlaxError as FlaxError
from minilinen.errors.base import MinilinenError as MinilinenError
from minilinen.errors.base import MinilinenHint as MinilinenHint
from minilinen.errors.base import MinilinenWarning as MinilinenWarning
from minilinen.errors.base import nearest as nearest
from minilinen.errors.base import note as note
from minilinen.errors.base import show as show
from minilinen.errors.base import warn as warn
from minilinen.errors.checkpoints import CheckpointError as CheckpointError
from minilinen.errors.checkpoints import MissingPackageError as MissingPackageError
from minilinen.errors.checkpoints import PickleError as PickleError
from minilinen.errors.dicts import FlagNotFoundError as FlagNotFoundError
from minilinen.errors.dicts import FrozenDictError as FrozenDictError
from minilinen.errors.dicts import NotADictError as NotADictError
from minilinen.errors.exchanged import FlaxImportedError as FlaxImportedError
from minilinen.errors.exchanged import MixedModulesError as MixedModulesError
from minilinen.errors.exchanged import NoFlaxImportError as NoFlaxImportError
from minilinen.errors.exchanged import NoFlaxModuleError as NoFlaxModuleError
from minilinen.errors.exchanged import NoFlaxNameError as NoFlaxNameError
from minilinen.errors.findings import ExtraVariableHint as ExtraVariableHint
from minilinen.errors.findings import KeyCollisionWarning as KeyCollisionWarning
from minilinen.errors.findings import MovedNameWarning as MovedNameWarning
from minilinen.errors.findings import RetracedWarning as RetracedWarning
from minilinen.errors.findings import SameKeyHint as SameKeyHint
from minilinen.errors.findings import UncalledModuleHint as UncalledModuleHint
from minilinen.errors.findings import UnusedVariableHint as UnusedVariableHint
from minilinen.errors.foreign import ArgumentsError as ArgumentsError
from minilinen.errors.foreign import AxisNameError as AxisNameError
from minilinen.errors.foreign import DTypeNameError as DTypeNameError
from minilinen.errors.foreign import SizeError as SizeError
from minilinen.errors.foreign import TracedValueWarning as TracedValueWarning
from minilinen.errors.foreign import UnhashableFieldError as UnhashableFieldError
from minilinen.errors.initial import InitializerError as InitializerError
from minilinen.errors.initial import UncalledInitializerWarning as UncalledInitializerWarning
from minilinen.errors.lift_warnings import DroppedValueWarning as DroppedValueWarning
from minilinen.errors.lift_warnings import LeakedTracerWarning as LeakedTracerWarning
from minilinen.errors.lift_warnings import ReusedKeyWarning as ReusedKeyWarning
from minilinen.errors.lift_warnings import ServedByParamsWarning as ServedByParamsWarning
from minilinen.errors.lift_warnings import StackedKeyWarning as StackedKeyWarning
from minilinen.errors.lift_warnings import StaticArgumentWarning as StaticArgumentWarning
from minilinen.errors.lifts import BranchesDifferError as BranchesDifferError
from minilinen.errors.lifts import CarriedCollectionError as CarriedCollectionError
from minilinen.errors.lifts import CarryError as CarryError
from minilinen.errors.lifts import DerivativeError as DerivativeError
from minilinen.errors.lifts import JaxTransformError as JaxTransformError
from minilinen.errors.lifts import LiftedAt as LiftedAt
from minilinen.errors.lifts import LiftedFunctionError as LiftedFunctionError
from minilinen.errors.lifts import MultiScopeError as MultiScopeError
from minilinen.errors.lifts import RemovedOptionError as RemovedOptionError
from minilinen.errors.lifts import TraceContextError as TraceContextError
from minilinen.errors.lifts import TransformedMethodReturnValueError as TransformedMethodReturnValueError
from minilinen.errors.lifts import TransformTargetError as TransformTargetError
from minilinen.errors.loops import DependsOnStepError as DependsOnStepError
from minilinen.errors.loops import MappedSizeError as MappedSizeError
from minilinen.errors.modules import AppendAfterSetupError as AppendAfterSetupError
from minilinen.errors.modules import AssignSubModuleError as AssignSubModuleError
from minilinen.errors.modules import CallCompactUnboundModuleError as CallCompactUnboundModuleError
from minilinen.errors.modules import CallSetupUnboundModuleError as CallSetupUnboundModuleError
from minilinen.errors.modules import CallShareScopeOnUnboundModuleError as CallShareScopeOnUnboundModuleError
from minilinen.errors.modules import CallUnbindOnUnboundModuleError as CallUnbindOnUnboundModuleError
from minilinen.errors.modules import DescriptorAttributeError as DescriptorAttributeError
from minilinen.errors.modules import FieldsError as FieldsError
from minilinen.errors.modules import HiddenMethodWarning as HiddenMethodWarning
from minilinen.errors.modules import IncorrectPostInitOverrideError as IncorrectPostInitOverrideError
from minilinen.errors.modules import MultipleMethodsCompactError as MultipleMethodsCompactError
from minilinen.errors.modules import NameInUseError as NameInUseError
from minilinen.errors.modules import ParentError as ParentError
from minilinen.errors.modules import ReservedModuleAttributeError as ReservedModuleAttributeError
from minilinen.errors.modules import SetAttributeFrozenModuleError as SetAttributeFrozenModuleError
from minilinen.errors.modules import SetAttributeInModuleSetupError as SetAttributeInModuleSetupError
from minilinen.errors.runs import ApplyModuleInvalidMethodError as ApplyModuleInvalidMethodError
from minilinen.errors.runs import (
  ApplyScopeInvalidVariablesStructureError as ApplyScopeInvalidVariablesStructureError,
)
from minilinen.errors.runs import (
  ApplyScopeInvalidVariablesTypeError as ApplyScopeInvalidVariablesTypeError,
)
from minilinen.errors.runs import InvalidInstanceModuleError as InvalidInstanceModuleError
from minilinen.errors.runs import InvalidRngError as InvalidRngError
from minilinen.errors.runs import LayerInputError as LayerInputError
from minilinen.errors.runs import LazyInitError as LazyInitError
from minilinen.errors.runs import NestingTooDeepError as NestingTooDeepError
from minilinen.errors.scopes import ImmutableVariableError as ImmutableVariableError
from minilinen.errors.scopes import InvalidFilterError as InvalidFilterError
from minilinen.errors.scopes import InvalidScopeError as InvalidScopeError
from minilinen.errors.scopes import ModifyScopeVariableError as ModifyScopeVariableError
from minilinen.errors.scopes import ScopeCollectionNotFound as ScopeCollectionNotFound
from minilinen.errors.scopes import ScopeNameInUseError as ScopeNameInUseError
from minilinen.errors.scopes import ScopeNameTypeError as ScopeNameTypeError
from minilinen.errors.scopes import ScopeParamNotFoundError as ScopeParamNotFoundError
from minilinen.errors.scopes import ScopeParamShapeError as ScopeParamShapeError
from minilinen.errors.scopes import ScopeParamTypeError as ScopeParamTypeError
from minilinen.errors.scopes import ScopeVariableNotFoundError as ScopeVariableNotFoundError
from minilinen.errors.scopes import SymbolicParamError as SymbolicParamError
from minilinen.errors.values import DeprecatedWarning as DeprecatedWarning
from minilinen.errors.values import FedBackWarning as FedBackWarning
from minilinen.errors.values import FullCacheWarning as FullCacheWarning
from minilinen.errors.values import IdsOutsideWarning as IdsOutsideWarning
from minilinen.errors.values import KernelSizeWarning as KernelSizeWarning
from minilinen.errors.values import MisspeltCollectionWarning as MisspeltCollectionWarning
from minilinen.errors.values import ReturnedLayerWarning as ReturnedLayerWarning
from minilinen.tracing.errors import DimensionMissingError as DimensionMissingError
from minilinen.tracing.errors import LoopStepMissingError as LoopStepMissingError
from minilinen.tracing.errors import NoEquationsError as NoEquationsError
from minilinen.tracing.errors import NoSuchCostError as NoSuchCostError
from minilinen.tracing.errors import NoSuchModuleError as NoSuchModuleError
from minilinen.tracing.errors import NoSuchPathError as NoSuchPathError
from minilinen.tracing.errors import NoSuchRootKeyError as NoSuchRootKeyError
from minilinen.tracing.errors import NotTraceableError as NotTraceableError
from minilinen.tracing.errors import SharedEquationError as SharedEquationError
from minilinen.tracing.errors import SpecError as SpecError
from minilinen.tracing.errors import TraceError as TraceError
from minilinen.tracing.errors import TraceFileError as TraceFileError
from minilinen.tracing.errors import UnknownEquationError as UnknownEquationError
from minilinen.tracing.errors import UnknownKeyStepError as UnknownKeyStepError

for _class in list(vars().values()):
  if isinstance(_class, type) and issubclass(_class, Exception):
    _class.__module__ = __name__
