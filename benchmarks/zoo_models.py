"""Small versions of the architectures that people use, with random weights."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

# Tokens in the vocabulary, and lengths of the sequences.
TOKENS, LENGTH, FRAMES, BINS = 50, 10, 24, 8
_BLOCKS = {"vocabulary_size": TOKENS, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}


def hub() -> Any:
    """Return the models of KerasHub. The others of this file do not need it."""
    from keras_hub import models  # pyright: ignore[reportMissingImports]

    return models


def mobilenet() -> keras.Model:
    """Return MobileNetV2 of a third of its width, for images of 32 x 32."""
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)


def efficientnet() -> keras.Model:
    """Return EfficientNetB0 for images of 32 x 32, with its normalization."""
    return keras.applications.EfficientNetB0(input_shape=(32, 32, 3), weights=None, classes=10)


def bert() -> keras.Model:
    """Return a BERT encoder of two blocks, with learned positions."""
    return hub().BertBackbone(num_heads=2, max_sequence_length=LENGTH + 2, **_BLOCKS)


def gpt2() -> keras.Model:
    """Return a GPT-2 decoder of two blocks, with learned positions."""
    return hub().GPT2Backbone(num_heads=2, max_sequence_length=LENGTH + 2, **_BLOCKS)


def llama() -> keras.Model:
    """Return a Llama decoder of two blocks, with rotary positions and grouped queries."""
    return hub().LlamaBackbone(num_query_heads=4, num_key_value_heads=2, **_BLOCKS)


def gemma() -> keras.Model:
    """Return a Gemma decoder of two blocks."""
    return hub().GemmaBackbone(num_query_heads=2, num_key_value_heads=1, head_dim=8, **_BLOCKS)


def t5() -> keras.Model:
    """Return a T5 encoder and decoder of two blocks each, with relative positions."""
    return hub().T5Backbone(num_heads=2, **_BLOCKS)


def whisper() -> keras.Model:
    """Return a Whisper encoder of spectrograms, and a decoder, of two blocks each."""
    return hub().WhisperBackbone(
        num_heads=2,
        num_mels=BINS,
        max_encoder_sequence_length=FRAMES,
        max_decoder_sequence_length=LENGTH + 2,
        **_BLOCKS,
    )


def vit() -> keras.Model:
    """Return a vision transformer of two blocks, for images of 16 x 16."""
    return hub().ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=(4, 4),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
    )


def resnet() -> keras.Model:
    """Return a ResNet of two stages, for images of 32 x 32."""
    return hub().ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )


MODELS: dict[str, Callable[[], keras.Model]] = {
    each.__name__: each
    for each in (*(mobilenet, efficientnet, bert, gpt2, llama, vit, t5, whisper, resnet, gemma),)
}


def inputs_for(model: keras.Model, samples: int, rng: np.random.Generator) -> Any:
    """Return random inputs: tokens, masks without padding, images of 0 to 255, spectrograms."""

    def draw(name: str, tensor: Any) -> np.ndarray:
        length = FRAMES if "features" in name else LENGTH
        shape = (samples, *(length if size is None else size for size in tensor.shape[1:]))
        if "mask" in name:
            return np.ones(shape, tensor.dtype)
        if np.issubdtype(tensor.dtype, np.integer):
            return rng.integers(0, 2 if "segment" in name else TOKENS, shape).astype(tensor.dtype)
        return (rng.random(shape) * (255 if len(shape) == 4 else 1)).astype(tensor.dtype)

    structure = model.input
    if isinstance(structure, dict):
        return {name: draw(name, tensor) for name, tensor in structure.items()}
    return draw("images", structure)
