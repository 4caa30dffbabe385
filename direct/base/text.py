"""The miniature's text side: a `T5Tokenizer` over the captions' words, and a small UMT5."""

from __future__ import annotations

import torch
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from ..world.record import BACKGROUNDS, COLORS, RADIUS, SCENES, options

LENGTH = 32  # tokens
DIM = 64


def tokenizer() -> T5Tokenizer:
    """One token per word of the world's captions, letters for any other word."""
    text = " ".join(scene.template for scene in SCENES.values())
    fields = ("speed", "direction", "material", "contact")
    words = {word for word in text.replace(",", " ").split() if not word.startswith("{")}
    words |= {value for scene in SCENES for name in fields for value in options(scene, name)}
    words |= {*COLORS, *BACKGROUNDS, *RADIUS, "background"}
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0), (",", -3.0)]
    vocabulary += [(f"▁{word}", -2.0) for word in sorted(words)]
    vocabulary += [(letter, -10.0) for letter in "abcdefghijklmnopqrstuvwxyz.-'"]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=LENGTH)


def encoder(vocabulary: int, seed: int) -> UMT5EncoderModel:
    """An untrained encoder; dropout is off, since training data never repeats a start."""
    torch.manual_seed(seed)
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=DIM,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=16,
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config)
