"""A Llama-style language model, the parts it is made of, and text out of it."""

from lehr.nn.model import (
    Block,
    RMSNorm,
    SwiGLU,
    TransformerLM,
    cross_entropy,
    gradient_clipping,
    rope,
    scaled_dot_product_attention,
    silu,
    softmax,
)

__all__ = [
    "Block",
    "RMSNorm",
    "SwiGLU",
    "TransformerLM",
    "cross_entropy",
    "gradient_clipping",
    "rope",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
