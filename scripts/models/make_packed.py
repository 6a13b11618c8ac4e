"""Tiny random models packed to four bits as GPTQ and AWQ checkpoints are, with the outputs of transformers on the weights
that they stand for; for cli/tests/packed.rs.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_packed.py

The numbers are drawn as they are stored, so nothing is lost by packing. What they stand for is computed here with shifts
over whole arrays, as the reference kernels of AutoGPTQ and AutoAWQ do it.
"""

import json

import numpy as np
import torch
import transformers as hf
from safetensors.torch import save_file

from make_families import PROMPTS, ROOT, ROTARY, randomise, rope

GROUP = 8
SHIFTS = np.arange(0, 32, 4, dtype=np.uint32)
# Of the outputs in a word, lowest bits first; and where each output lies.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
AWQ_REVERSE = [0, 4, 1, 5, 2, 6, 3, 7]
ONES = np.uint32(0x11111111)


def pack(numbers):
    """Eight neighbours of the last axis to a word, the first in the lowest bits."""
    words = numbers.reshape(*numbers.shape[:-1], -1, 8).astype(np.uint32) << SHIFTS
    return np.bitwise_or.reduce(words, axis=-1)


def unpack(words):
    return ((words[..., None] >> SHIFTS) & 15).reshape(*words.shape[:-1], -1).astype(np.int32)


def draw(rng, inputs, outputs):
    groups = inputs // GROUP
    numbers = rng.integers(0, 16, (inputs, outputs))
    zeros = rng.integers(0, 16, (groups, outputs))
    scales = rng.uniform(0.03, 0.1, (groups, outputs)).astype(np.float16)
    return numbers, zeros, scales


def gptq(rng, inputs, outputs, version):
    """Tensors by name, and the matrix [outputs, inputs] that they stand for."""
    numbers, zeros, scales = draw(rng, inputs, outputs)
    # The order of activations: every group has its inputs all over the layer.
    group = rng.permutation(np.arange(inputs) // GROUP)
    less = ONES if version == "gptq" else np.uint32(0)
    stored = {
        "qweight": pack(numbers.T).T,
        "qzeros": pack(zeros) - less,
        "scales": scales,
        "g_idx": group.astype(np.int32),
        # Such files have a bias for every layer, whatever the model has.
        "bias": np.zeros(outputs, np.float16),
    }
    q = unpack(stored["qweight"].T).T
    z = unpack(stored["qzeros"] + less)
    matrix = scales.astype(np.float32)[group] * (q - z[group])
    if version == "gptq_v2":
        # Without the order of activations, and without a bias.
        matrix = scales.astype(np.float32).repeat(GROUP, 0) * (q - z.repeat(GROUP, 0))
        del stored["g_idx"], stored["bias"]
    return stored, matrix.T


def awq(rng, inputs, outputs):
    numbers, zeros, scales = draw(rng, inputs, outputs)

    def ordered(a):
        return a.reshape(len(a), -1, 8)[:, :, AWQ_ORDER].reshape(a.shape)

    def reversed_(a):
        return a.reshape(len(a), -1, 8)[:, :, AWQ_REVERSE].reshape(a.shape)

    stored = {"qweight": pack(ordered(numbers)), "qzeros": pack(ordered(zeros)), "scales": scales}
    q, z = reversed_(unpack(stored["qweight"])), reversed_(unpack(stored["qzeros"]))
    matrix = scales.astype(np.float32).repeat(GROUP, 0) * (q - z.repeat(GROUP, 0))
    return stored, matrix.T


def main():
    common = {"bits": 4, "group_size": GROUP}
    by_gptq = dict(quant_method="gptq", **common, desc_act=True, sym=False, checkpoint_format="gptq")
    models = {
        "llama_gptq": (hf.LlamaForCausalLM, hf.LlamaConfig(**ROTARY, **rope(10000.0)), by_gptq),
        "qwen3_gptq_v2": (
            hf.Qwen3ForCausalLM,
            hf.Qwen3Config(**ROTARY, head_dim=8, tie_word_embeddings=True, **rope(10000.0)),
            by_gptq | dict(desc_act=False, checkpoint_format="gptq_v2"),
        ),
        "qwen2_awq": (
            hf.Qwen2ForCausalLM,
            hf.Qwen2Config(**ROTARY, tie_word_embeddings=True, use_sliding_window=False, **rope(10000.0)),
            dict(quant_method="awq", **common, version="gemm", zero_point=True),
        ),
    }
    for name, (kind, config, packing) in models.items():
        torch.manual_seed(21)
        rng = np.random.default_rng(21)
        config._attn_implementation = "eager"
        model = kind(config).eval().float()
        randomise(model, torch.float16)
        tensors = {
            key: value.half() for key, value in model.state_dict().items() if not (key == "lm_head.weight" and config.tie_word_embeddings)
        }
        for path, layer in model.model.layers.named_modules():
            if not isinstance(layer, torch.nn.Linear):
                continue
            key = f"model.layers.{path}"
            if packing["quant_method"] == "awq":
                stored, matrix = awq(rng, layer.in_features, layer.out_features)
            else:
                stored, matrix = gptq(rng, layer.in_features, layer.out_features, packing["checkpoint_format"])
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(matrix))
            del tensors[f"{key}.weight"]
            for part, values in stored.items():
                whole = values.view(np.int32) if values.dtype == np.uint32 else values
                tensors.setdefault(f"{key}.{part}", torch.from_numpy(np.ascontiguousarray(whole)))
        folder = ROOT / name
        folder.mkdir(exist_ok=True)
        config.architectures, config.dtype = [kind.__name__], "float16"
        values = json.loads(config.to_json_string()) | {"quantization_config": packing}
        (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        cases = []
        with torch.no_grad():
            for ids in PROMPTS:
                logits = model(input_ids=torch.tensor([ids])).logits
                flat = [float(f"{v:.6g}") for v in logits.flatten().tolist()]
                cases.append({"ids": ids, "entry": "main", "output": flat})
        (folder / "expected.json").write_text(json.dumps(cases) + "\n")
        print(name, sum(f.stat().st_size for f in folder.iterdir()))


if __name__ == "__main__":
    main()
