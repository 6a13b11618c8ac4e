"""Tiny random models in GGUF files, with the outputs of transformers on what their blocks stand for; for cli/tests/gguf.rs.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_gguf.py

The files are written, quantised and dequantised by the package `gguf` of llama.cpp, in the names of its table, with what its
converter does on the way: the rows of Llama's queries and keys are interleaved, and the matrices of GPT-2 transposed.
"""

import json
import pathlib

import gguf
import torch
import transformers as hf
from gguf import GGMLQuantizationType as Type

from make_families import PROMPTS, VOCAB, randomise, rope

ROOT = pathlib.Path(__file__).parents[2] / "cli/tests/fixtures/gguf"
# Rows of whole blocks.
WIDE = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=32,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    rms_norm_eps=1e-5,
)
MODELS = {
    "llama_q8_0": (hf.LlamaForCausalLM, hf.LlamaConfig(**WIDE, num_hidden_layers=2, **rope(10000.0)), Type.Q8_0, Type.F16),
    "qwen2_q4_0": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(**WIDE, num_hidden_layers=2, tie_word_embeddings=True, **rope(1000000.0)),
        Type.Q4_0,
        Type.Q8_0,
    ),
    "qwen3_f32": (
        hf.Qwen3ForCausalLM,
        hf.Qwen3Config(**(WIDE | dict(hidden_size=16, num_key_value_heads=1)), num_hidden_layers=1, head_dim=8,
                       tie_word_embeddings=True, **rope(1000000.0)),
        Type.F32,
        Type.BF16,
    ),
    "gpt2_f16": (
        hf.GPT2LMHeadModel,
        hf.GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0),
        Type.F16,
        Type.F16,
    ),
}
# The matrices of GPT-2 that its converter transposes.
TRANSPOSED = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


def interleave(matrix, heads):
    halves = matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def metadata(writer, arch, config):
    writer.add_name(arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if arch == "gpt2":
        writer.add_feed_forward_length(4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if arch == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    # As long as real ones are, but for their number.
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(VOCAB)])
    writer.add_token_types([1] * VOCAB)


def main():
    ROOT.mkdir(exist_ok=True)
    for name, (kind, config, matrices, embedding) in MODELS.items():
        torch.manual_seed(22)
        config._attn_implementation = "eager"
        arch = config.model_type
        model = kind(config).eval().float()
        randomise(model, torch.float16)
        names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()), config.num_hidden_layers)
        writer = gguf.GGUFWriter(ROOT / f"{name}.gguf", arch)
        metadata(writer, arch, config)
        tied = config.tie_word_embeddings
        for key, values in model.state_dict().items():
            # GPT-2's converter writes its head although it is the embedding.
            if key == "lm_head.weight" and tied and arch != "gpt2":
                continue
            stored = values.numpy()
            if arch == "gpt2" and key.endswith(TRANSPOSED):
                stored = stored.T
            outside = key.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight", "wpe.weight"))
            kinds = Type.F32 if stored.ndim == 1 else embedding if outside else matrices
            meant = gguf.quants.dequantize(gguf.quants.quantize(stored, kinds), kinds)
            if arch == "llama" and key.endswith("q_proj.weight"):
                stored = interleave(stored, config.num_attention_heads)
            if arch == "llama" and key.endswith("k_proj.weight"):
                stored = interleave(stored, config.num_key_value_heads)
            blocks = gguf.quants.quantize(stored, kinds)
            writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")) , blocks, raw_dtype=kinds)
            meant = meant.T if arch == "gpt2" and key.endswith(TRANSPOSED) else meant
            with torch.no_grad():
                values.copy_(torch.from_numpy(meant.copy()))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        cases = []
        with torch.no_grad():
            for ids in PROMPTS[:2]:
                logits = model(input_ids=torch.tensor([ids])).logits
                flat = [float(f"{v:.6g}") for v in logits.flatten().tolist()]
                cases.append({"ids": ids, "entry": "main", "output": flat})
        (ROOT / f"{name}.json").write_text(json.dumps(cases) + "\n")
        print(name, (ROOT / f"{name}.gguf").stat().st_size)


if __name__ == "__main__":
    main()
