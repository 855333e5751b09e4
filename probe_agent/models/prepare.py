"""Run in a process of its own: put the model's files on the node, once. `python -m probe_agent.models.prepare SPEC`.

Synthetic weights repeat one block of normal noise: an inference process reads, maps and multiplies them like trained
ones, and even a 3.8 B model is written at the speed of the disk.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from . import SHAPES, SYNTHETIC, synthetic_folder

NOISE_VALUES = 1 << 24
WEIGHT_STD = 0.02
SHARD_SIZE = "2GB"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SEED = 0


def prepare(name: str, revision: str, models_dir: str) -> Path:
    """Return the folder of the model's files. Raises OSError when there is no room or no hub."""
    if name.startswith(SYNTHETIC):
        folder = synthetic_folder(name, models_dir)
        if not folder.exists():
            _build(SHAPES[name[len(SYNTHETIC) :]], folder)
        return folder
    if name.startswith("/"):
        return Path(name)
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.model", "*.txt"]
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _build(shape: dict[str, Any], folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        _write_weights(shape, unfinished)
        _write_tokenizer(shape["vocab_size"], shape["max_position_embeddings"], unfinished)
        for file in unfinished.iterdir():  # dirty pages could not be evicted before a cold load
            file.chmod(0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_tokenizer(vocab_size: int, longest: int, folder: Path) -> None:
    """Write a byte-level tokenizer: text becomes bytes; the other ids decode to filler words no text is split into."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ("".join(letters) for letters in itertools.product("abcdefghijklmnopqrstuvwxyz", repeat=4))
    fillers = itertools.islice(words, vocab_size - len(alphabet) - len(SPECIAL_TOKENS))
    vocabulary = {token: number for number, token in enumerate(itertools.chain(alphabet, fillers, SPECIAL_TOKENS))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL_TOKENS[0],
        "pad_token": SPECIAL_TOKENS[0],
        "model_max_length": longest,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=1))
    end = vocabulary[SPECIAL_TOKENS[0]]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end, "pad_token_id": end}))


def _write_weights(shape: dict[str, Any], folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape), dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    noise = torch.randn(NOISE_VALUES, generator=torch.Generator().manual_seed(SEED)).mul_(WEIGHT_STD).bfloat16()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.data.zero_()
        elif weight.ndim == 1:  # norms scale by one
            weight.data.fill_(1)
        else:
            flat = weight.data.view(-1)
            for start in range(0, flat.numel(), NOISE_VALUES):
                part = flat[start : start + NOISE_VALUES]
                part.copy_(noise[: part.numel()])
    model.tie_weights()
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)


def main() -> None:
    request = json.loads(sys.argv[1])
    folder = prepare(request["model"], request["model_revision"], request["models_dir"])
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
