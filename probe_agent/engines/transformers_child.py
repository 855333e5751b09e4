"""The process under the stethoscope: load a model through transformers, generate, and wait to be read.

Run by `fresh.run`; each stage is reported with time.perf_counter(), after the device has finished its work.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from . import child


def measure(job: dict[str, Any], stage: Any) -> dict[str, Any]:
    """Load, then generate `new_tokens` tokens `generations` times. Times are seconds."""
    gc.disable()  # nothing of what is imported is garbage, and looking for it takes a fifth of the time
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ..host import process
    from . import bytecode, pinning

    gc.freeze()
    gc.enable()
    stage("imports")
    on_gpu = torch.cuda.is_available()
    # On Hopper torch prefers cuDNN's attention, which plans anew for each length of the KV cache: 1.9 s of the first
    # 64 tokens on an H200, behind which nothing of the host's would show.
    if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):  # from torch 2.5 on
        torch.backends.cuda.enable_cudnn_sdp(False)

    def settle() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    stage("tokenizer")
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto", use_safetensors=True)
    stage("weights")
    model.to("cuda" if on_gpu else "cpu")
    settle()
    stage("to_device")
    inputs = tokenizer(job["prompt"], return_tensors="pt").to(model.device)
    model.generate(**inputs, max_new_tokens=1, do_sample=False)
    settle()
    stage("first_token")

    latencies, rss_after_mb, produced = [], [], 0
    for _ in range(job["generations"]):
        began = time.perf_counter()
        output = model.generate(
            **inputs, max_new_tokens=job["new_tokens"], min_new_tokens=job["new_tokens"], do_sample=False
        )
        settle()
        latencies.append(time.perf_counter() - began)
        rss_after_mb.append(process.rss_mb())
        produced = output.shape[1] - inputs["input_ids"].shape[1]
    uncompiled, modules = bytecode.missing(sys.modules.values())
    return {
        "device": str(model.device),
        "gpu": uuid(torch, model.device) if on_gpu else "",
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "prompt_tokens": inputs["input_ids"].shape[1],
        "new_tokens": produced,
        "generation_latencies_s": latencies,
        "rss_after_mb": rss_after_mb,
        "modules": modules,
        "modules_uncompiled": uncompiled,
        "pinned": pinning.measure(job["pin_mb"]) if on_gpu and job["pin_mb"] else None,
        "gpu_allocated_peak_mb": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None,
    }


def uuid(torch: Any, device: Any) -> str:
    """Return a GPU's UUID as NVML writes it; torch leaves its first word out."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


if __name__ == "__main__":
    child.main(measure)
