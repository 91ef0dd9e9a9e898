"""A Llama-style language model, the parts it is made of, and text out of it."""

from lehr.nn.clipping import gradient_clipping
from lehr.nn.functions import cross_entropy, scaled_dot_product_attention, silu, softmax
from lehr.nn.layers import Block, RMSNorm, SwiGLU
from lehr.nn.model import TransformerLM
from lehr.nn.rotary import rope

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
