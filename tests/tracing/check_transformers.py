"""Whether `check` warns of what is right: the Flax models of `transformers`, from small configurations, on minilinen.

Each model is run as its users run it, in training and not, compiled and not, and a few write a text with their caches.
What is unused on purpose there (a pooler, a head for another task) is a hint; a warning would be a false alarm. The
last `transformers` with Flax models is 4.49; it is asked for nothing but their code, so that it needs no more than:

  pip install --no-deps --target DIR transformers==4.49.0 "huggingface_hub<1" "tokenizers<0.22" safetensors regex \
    requests tqdm pyyaml filelock fsspec packaging typing_extensions urllib3 idna certifi charset_normalizer
  PYTHONPATH=.:DIR python tests/tracing/check_transformers.py [--quick] [part of a model's name ...]

It prints a table and ends with 1 if there was a warning, or a model could not be run; `test_transformers` runs it where
`transformers` is installed. `flax.linen` is exchanged for all modules of the process, so it is one of its own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import minilinen as nn
from minilinen import compat
from minilinen.tracing.checks import Findings

TEXT = dict(
  vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
  max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
BART = dict(
  vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
  decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32, pad_token_id=0,
  bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
)  # fmt: skip
T5 = dict(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
IMAGE = dict(
  hidden_size=16,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=32,
  image_size=16,
  patch_size=8,
)
STAGES = dict(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4)
SOUND = dict(
  vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
  conv_stride=(2, 2), conv_kernel=(3, 3), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
  feat_extract_norm="layer", do_stable_layer_norm=True, codevector_dim=8, proj_codevector_dim=8,
  num_codevectors_per_group=4, mask_time_length=2,
)  # fmt: skip
CLIP = dict(
  text_config={**TEXT, "projection_dim": 8}, vision_config={**IMAGE, "projection_dim": 8}, projection_dim=8
)

# Families: where the models are, the name of the configuration, and its arguments.
FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
  ("albert", "AlbertConfig", {**TEXT, "embedding_size": 16}),
  ("bart", "BartConfig", BART),
  ("beit", "BeitConfig", {**IMAGE, "vocab_size": 64}),
  ("bert", "BertConfig", TEXT),
  ("big_bird", "BigBirdConfig", {**TEXT, "attention_type": "original_full"}),
  ("blenderbot", "BlenderbotConfig", BART),
  ("blenderbot_small", "BlenderbotSmallConfig", BART),
  ("bloom", "BloomConfig", {**TEXT, "n_layer": 2, "n_head": 2}),
  ("clip", "CLIPConfig", CLIP),
  ("dinov2", "Dinov2Config", IMAGE),
  ("distilbert", "DistilBertConfig", {**TEXT, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
  ("electra", "ElectraConfig", {**TEXT, "embedding_size": 16}),
  ("gemma", "GemmaConfig", {**TEXT, "num_key_value_heads": 1, "head_dim": 8}),
  ("gpt2", "GPT2Config", {**TEXT, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}),
  (
    "gpt_neo",
    "GPTNeoConfig",
    {**TEXT, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
  ),
  ("gptj", "GPTJConfig", {**TEXT, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4}),
  ("llama", "LlamaConfig", {**TEXT, "num_key_value_heads": 2}),
  ("longt5", "LongT5Config", {**T5, "local_radius": 3}),
  ("marian", "MarianConfig", BART),
  ("mbart", "MBartConfig", BART),
  ("mistral", "MistralConfig", {**TEXT, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4}),
  ("mt5", "MT5Config", T5),
  ("opt", "OPTConfig", {**TEXT, "ffn_dim": 32, "word_embed_proj_dim": 16}),
  ("pegasus", "PegasusConfig", BART),
  ("regnet", "RegNetConfig", STAGES),
  ("resnet", "ResNetConfig", STAGES),
  ("roberta", "RobertaConfig", TEXT),
  ("roberta_prelayernorm", "RobertaPreLayerNormConfig", TEXT),
  ("roformer", "RoFormerConfig", {**TEXT, "embedding_size": 16}),
  ("t5", "T5Config", T5),
  ("vit", "ViTConfig", IMAGE),
  ("wav2vec2", "Wav2Vec2Config", SOUND),
  (
    "whisper",
    "WhisperConfig",
    {**BART, "num_mel_bins": 8, "max_source_positions": 8, "max_target_positions": 32, "suppress_tokens": None,
     "begin_suppress_tokens": None},
  ),
  ("xglm", "XGLMConfig", {**TEXT, "d_model": 16, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2}),
  ("xlm_roberta", "XLMRobertaConfig", TEXT),
]  # fmt: skip

IDS = jnp.array([[5, 9, 7, 3, 11, 4, 6, 2]])
PIXELS = jnp.ones((1, 3, 16, 16))
WAVES = jnp.sin(jnp.arange(128.0))[None]
WRITERS = ("CausalLM", "LMHeadModel", "ConditionalGeneration", "MTModel")
DECODERS = ("gpt2", "gptj", "gpt_neo", "llama", "mistral", "gemma", "opt", "bloom", "xglm")
CALLERS = ("Model", "For", "LMHeadModel", "MTModel")


@dataclass
class Case:
  """One model: how it is made, and what it is called with."""

  name: str
  family: str
  make: Callable[[], Any]
  inputs: dict[str, Any]


def mend_jax() -> None:
  """Mends what this JAX lacks of an older one's."""
  clip: Any = jnp.clip

  @functools.wraps(clip)
  def clipped(a: Any, *bounds: Any, a_min: Any = None, a_max: Any = None, **kwargs: Any) -> Any:
    named = {"min": a_min, "max": a_max, **kwargs}
    return clip(a, *bounds, **{name: value for name, value in named.items() if value is not None})

  jnp.clip = clipped
  for array in (jax.core.Tracer, type(jnp.ones(1))):
    setattr(array, "split", lambda self, parts, axis=0: jnp.split(self, parts, axis))  # noqa: B010


def cases() -> Iterator[Case]:
  """Every model that a user makes, of every family."""
  import transformers

  for family, config_name, arguments in FAMILIES:
    module = importlib.import_module(f"transformers.models.{family}.modeling_flax_{family}")
    for name, cls in sorted(vars(module).items()):
      is_model = getattr(cls, "module_class", None) is not None and cls.__module__ == module.__name__
      if is_model and "PreTrained" not in name and any(part in name for part in CALLERS):
        config_cls = getattr(transformers, config_name)
        part = "Text" if "CLIPText" in name else "Vision" if "CLIPVision" in name else ""
        if part:
          config_cls = getattr(transformers, f"CLIP{part}Config")
          arguments_here = CLIP[f"{part.lower()}_config"]
        else:
          arguments_here = arguments
        make = functools.partial(made, cls, config_cls, arguments_here)
        yield Case(name, family, make, inputs_of(family, name))
  yield from pairs(transformers)


def pairs(transformers: Any) -> Iterator[Case]:
  """Models that are two others."""
  t = transformers
  bert, vit, sound = t.BertConfig(**TEXT), t.ViTConfig(**IMAGE), t.Wav2Vec2Config(**SOUND)
  writer = t.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True)
  two = t.EncoderDecoderConfig.from_encoder_decoder_configs(bert, writer)
  seen = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, t.GPT2Config(
    **TEXT, n_positions=32, n_embd=16, n_layer=1, n_head=2, add_cross_attention=True))  # fmt: skip
  heard = t.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(sound, t.BartConfig(
    **BART, is_decoder=True, add_cross_attention=True))  # fmt: skip
  both = t.VisionTextDualEncoderConfig.from_vision_text_configs(vit, bert, projection_dim=8)
  answer = dict(decoder_input_ids=IDS)
  for config, name, inputs in (
    (two, "EncoderDecoderModel", dict(input_ids=IDS, **answer)),
    (seen, "VisionEncoderDecoderModel", dict(pixel_values=PIXELS, **answer)),
    (heard, "SpeechEncoderDecoderModel", dict(inputs=WAVES, **answer)),
    (both, "VisionTextDualEncoderModel", dict(input_ids=IDS, pixel_values=PIXELS)),
  ):
    cls = getattr(t, f"Flax{name}")
    shapes = dict(input_shape=(WAVES.shape, IDS.shape)) if config is heard else {}
    yield Case(f"Flax{name}", "pairs", functools.partial(cls, config, **shapes), inputs)


def made(cls: Any, config_cls: Any, arguments: dict[str, Any]) -> Any:
  return cls(config_cls(**arguments), _do_init=False)


def inputs_of(family: str, name: str) -> dict[str, Any]:
  if "CLIPText" in name or family not in (
    "clip",
    "beit",
    "dinov2",
    "vit",
    "regnet",
    "resnet",
    "wav2vec2",
    "whisper",
  ):
    ids = dict(input_ids=jnp.stack([IDS, IDS], 1) if "MultipleChoice" in name else IDS)
    is_pair = family in (
      "bart",
      "mbart",
      "blenderbot",
      "blenderbot_small",
      "pegasus",
      "marian",
      "t5",
      "mt5",
      "longt5",
    )
    answers = is_pair and not name.endswith(("Classification", "Answering", "EncoderModel", "ForCausalLM"))
    return {**ids, "decoder_input_ids": IDS} if answers else ids
  if family == "wav2vec2":
    return dict(input_values=WAVES)
  if family == "whisper":
    sound = dict(input_features=jnp.ones((1, 8, 16)))
    return sound if name.endswith("Classification") else {**sound, "decoder_input_ids": IDS}
  return dict(input_ids=IDS, pixel_values=PIXELS) if name == "FlaxCLIPModel" else dict(pixel_values=PIXELS)


def runs_of(case: Case, quick: bool) -> Iterator[tuple[str, Findings]]:
  """What `check` says of each way to run a model."""
  model = case.make()
  is_empty = not model._is_initialized
  shapes = jax.eval_shape(
    lambda key: model.init_weights(key, model.input_shape) if is_empty else model.params, jax.random.key(0)
  )
  params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), shapes)
  key = jax.random.PRNGKey(0)

  def run(params: Any, **inputs: Any) -> Any:
    return model(**inputs, params=params)

  takes = inspect.signature(type(model).__call__).parameters

  def train(params: Any, key: Any, **inputs: Any) -> Any:
    how = dict(train=True) if "train" in takes else dict(deterministic=False)
    keys = {name: key for name in ("dropout_rng", "gumbel_rng") if name in takes}
    return model(**inputs, params=params, **how, **keys)

  yield "traced", nn.trace(run)(params, **case.inputs).check()
  yield "trained", nn.trace(train)(params, key, **case.inputs).check()
  if not quick:
    with nn.record() as trace:
      run(params, **case.inputs)
    yield "recorded", trace.check()
  if case.name.endswith(WRITERS) and (case.family in DECODERS or "decoder_input_ids" in case.inputs):
    asked = [value for name, value in case.inputs.items() if name != "decoder_input_ids"]
    with nn.record() as trace:
      model.generate(*asked, max_length=12, do_sample=False, params=params, pad_token_id=0, eos_token_id=2)
    yield "writing", trace.check()


def main(arguments: list[str]) -> int:
  warnings.simplefilter("ignore")
  compat.install()
  mend_jax()
  quick = "--quick" in arguments
  wanted = [argument for argument in arguments if not argument.startswith("-")]
  bad, number, began = 0, 0, time.time()
  for case in cases():
    if wanted and not any(part in case.name or part == case.family for part in wanted):
      continue
    number += 1
    said: list[str] = []
    try:
      for how, found in runs_of(case, quick):
        hints = Counter(f"{hint.kind.removesuffix('Hint')} {hint.path}" for hint in found.hints)
        said.append(f"{how}: {', '.join(hints) or 'nothing'}")
        for warning in found.warnings:
          bad += 1
          said.append(f"WARNING {warning}")
    except Exception as error:
      bad += 1
      said.append(f"FAILED {type(error).__name__}: {str(error)[:300]}")
    print(case.name, *said, sep="\n  ", flush=True)
  print(f"{number} models, {bad} bad, {time.time() - began:.0f} s")
  return int(bool(bad))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
