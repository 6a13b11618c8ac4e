"""Tiny random models of every family with the outputs of transformers, for cli/tests/families.rs.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_families.py

Each directory under cli/tests/fixtures/families is a HuggingFace model with `expected.json` beside it: tokens, the entry
that reads them, and the f32 outputs.
"""

import copy
import json
import pathlib

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).parents[2] / "cli/tests/fixtures/families"
VOCAB = 41
PROMPTS = [[3, 17, 40, 0, 9], [5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]

SMALL = dict(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32)
ROTARY = dict(**SMALL, num_key_value_heads=2, intermediate_size=24, rms_norm_eps=1e-5, attention_dropout=0.0)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=8, beta_fast=2.0)


def rope(theta, **more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=theta) | more)


# Name: model, configuration, element type of the file.
MODELS = {
    "bert": (hf.BertModel, hf.BertConfig(**SMALL, intermediate_size=24, pad_token_id=0), torch.float32),
    "bert_mlm": (hf.BertForMaskedLM, hf.BertConfig(**SMALL, intermediate_size=24, hidden_act="relu"), torch.float16),
    "gpt2": (
        hf.GPT2LMHeadModel,
        hf.GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0),
        torch.float16,
    ),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**ROTARY, **rope(10000.0)), torch.bfloat16),
    "llama_scaled": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(**ROTARY, tie_word_embeddings=True, head_dim=8, rope_parameters=LLAMA3),
        torch.float16,
    ),
    # One key head for all queries, and positions divided by 2.
    "llama_linear": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(**ROTARY | dict(num_key_value_heads=1), **rope(10000.0, rope_type="linear", factor=2.0)),
        torch.float16,
    ),
    "mistral": (
        hf.MistralForCausalLM,
        hf.MistralConfig(**ROTARY, sliding_window=4, attn_implementation="eager", **rope(10000.0)),
        torch.float16,
    ),
    "qwen2": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(**ROTARY, tie_word_embeddings=True, use_sliding_window=False, **rope(1000000.0)),
        torch.bfloat16,
    ),
    "qwen2_dynamic": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(**ROTARY, use_sliding_window=False, **rope(10000.0, rope_type="dynamic", factor=2.0)),
        torch.float16,
    ),
    "qwen3": (
        hf.Qwen3ForCausalLM,
        hf.Qwen3Config(**ROTARY, head_dim=8, tie_word_embeddings=True, **rope(1000000.0)),
        torch.float16,
    ),
    "qwen3_yarn": (
        hf.Qwen3ForCausalLM,
        hf.Qwen3Config(**ROTARY, head_dim=8, tie_word_embeddings=True, rope_parameters=YARN),
        torch.float16,
    ),
}


def randomise(model, dtype):
    """Weights large enough that every part shows in the output, exact in the file's type."""
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape)
            if p.dim() > 1:
                p.copy_(noise * 0.35)
            elif "norm" in name.lower() or "ln_" in name:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * noise)
            else:
                p.copy_(noise * 0.2)
            p.copy_(p.to(dtype).float())


def outputs(name, model, ids):
    out = model(input_ids=torch.tensor([ids]))
    if name == "bert":
        states = out.last_hidden_state
        mean = torch.nn.functional.normalize(states.mean(dim=1), dim=1)
        return {"main": mean, "states": states}
    if name == "bert_mlm":
        states = model.bert(input_ids=torch.tensor([ids])).last_hidden_state
        return {"main": torch.nn.functional.normalize(states.mean(dim=1), dim=1)}
    return {"main": out.logits}


def main():
    for name, (kind, config, dtype) in MODELS.items():
        torch.manual_seed(20)
        config._attn_implementation = "eager"
        model = kind(config).eval().float()
        randomise(model, dtype)
        folder = ROOT / name
        # A copy: the change of type would round the buffers of the rotary embedding as well.
        copy.deepcopy(model).to(dtype).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        cases = []
        with torch.no_grad():
            for ids in PROMPTS:
                for entry, values in outputs(name, model, ids).items():
                    flat = [float(f"{v:.6g}") for v in values.flatten().tolist()]
                    cases.append({"ids": ids, "entry": entry, "output": flat})
        (folder / "expected.json").write_text(json.dumps(cases) + "\n")
        print(name, sum(f.stat().st_size for f in folder.iterdir()))
    # The same model in two shards.
    tensors = load_file(ROOT / "qwen2/model.safetensors")
    names = sorted(tensors)
    half = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for file, part in shards.items():
        save_file({n: tensors[n] for n in part}, ROOT / "qwen2" / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())},
        "weight_map": {n: file for file, part in shards.items() for n in part},
    }
    (ROOT / "qwen2/model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (ROOT / "qwen2/model.safetensors").unlink()


if __name__ == "__main__":
    main()
