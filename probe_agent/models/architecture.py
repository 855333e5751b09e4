"""What a model's config.json says of its size: how many tokens it takes, and what the KV cache holds of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1}


@dataclass(frozen=True)
class Architecture:
    """`kv_values_per_token` is None for attention that keeps no keys and values per head (MLA, state space models)."""

    context_tokens: int
    kv_values_per_token: int | None
    dtype: str

    def kv_bytes_per_token(self, dtype: str = "auto") -> int | None:
        """Return what the KV cache holds of one token where the model is served in `dtype`."""
        size = DTYPE_BYTES.get(self.dtype if dtype == "auto" else dtype)
        return size and self.kv_values_per_token and size * self.kv_values_per_token


def read(model: Path) -> Architecture:
    """Raises ValueError, in one sentence, when the configuration does not say how long a sequence may be."""
    config = json.loads((model / "config.json").read_text())
    config = config.get("text_config", config)
    context = config.get("max_position_embeddings")
    if not isinstance(context, int):
        raise ValueError(f"{model / 'config.json'} has no max_position_embeddings, so no server can be sized for it")
    return Architecture(context, kv_values_per_token(config), config.get("dtype") or config.get("torch_dtype") or "")


def kv_values_per_token(config: dict[str, Any]) -> int | None:
    """Return 2 (keys and values) x layers x KV heads x head size, or None where attention is not of that kind."""
    layers, heads, hidden = (
        config.get(f"{name}") for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if "kv_lora_rank" in config or not (layers and heads and hidden):
        return None
    return 2 * layers * (config.get("num_key_value_heads") or heads) * (config.get("head_dim") or hidden // heads)
