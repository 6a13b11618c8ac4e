"""Tiny random models of every family as HuggingFace directories and as both ONNX exporters of PyTorch write them; for
cli/tests/exports.rs.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_exports.py

Three layers each, so that they are found to be one block. Sequences have a fixed length, as an export without dynamic axes.
"""

import io
import json
import pathlib
import warnings

import onnx
import torch
import transformers as hf

from make_families import randomise, rope

ROOT = pathlib.Path(__file__).parents[2] / "cli/tests/fixtures/exports"
PROMPT = [3, 17, 20, 0, 9]
SMALL = dict(vocab_size=23, hidden_size=8, num_hidden_layers=3, max_position_embeddings=16)
SHARED = dict(**SMALL, intermediate_size=12, num_attention_heads=4, num_key_value_heads=2, attention_dropout=0.0)
MODELS = {
    "bert": (hf.BertModel, hf.BertConfig(**SMALL, num_attention_heads=2, intermediate_size=12, type_vocab_size=2)),
    "gpt2": (
        hf.GPT2LMHeadModel,
        hf.GPT2Config(vocab_size=23, n_embd=8, n_layer=3, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0),
    ),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**SHARED, head_dim=4, tie_word_embeddings=True, **rope(10000.0))),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**SHARED, tie_word_embeddings=True, **rope(1000000.0))),
    "qwen3": (
        hf.Qwen3ForCausalLM,
        hf.Qwen3Config(**SHARED, head_dim=4, tie_word_embeddings=True, **rope(1000000.0)),
    ),
}


class Tensors(torch.nn.Module):
    """Ids to one tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        # Without a mask, the model looks for packed sequences, which no exporter writes.
        mask = torch.ones_like(ids)
        if isinstance(self.model, hf.BertModel):
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def shorten(graph):
    """Numbers for the names of nodes and of what they compute, which are paths through the model's classes."""
    last = {v.name for v in graph.output}
    names = {}
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [names.get(n, n) for n in node.input]
        for i, name in enumerate(node.output):
            if name and name not in last:
                node.output[i] = names[name] = f"v{len(names)}"


def export(model, ids, dynamo):
    """The file, without what exporters note for people."""
    if dynamo:
        proto = torch.onnx.export(Tensors(model).eval(), (ids,), dynamo=True, verbose=False).model_proto
    else:
        buffer = io.BytesIO()
        names = dict(input_names=["ids"], output_names=["out"])
        torch.onnx.export(Tensors(model).eval(), (ids,), buffer, dynamo=False, opset_version=17, **names)
        proto = onnx.load_from_string(buffer.getvalue())
    for node in proto.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for field in ("value_info", "metadata_props", "doc_string"):
        proto.graph.ClearField(field)
    for value in [*proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    proto.ClearField("metadata_props")
    proto.ClearField("functions")
    shorten(proto.graph)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def main():
    warnings.filterwarnings("ignore")
    for name, (kind, config) in MODELS.items():
        torch.manual_seed(23)
        # As transformers loads a model where nobody says otherwise, but for Llama.
        config._attn_implementation = "eager" if name == "llama" else "sdpa"
        model = kind(config).eval().float()
        randomise(model, torch.float16)
        folder = ROOT / name
        folder.mkdir(parents=True, exist_ok=True)
        ids = torch.tensor([PROMPT])
        for exporter in ("dynamo", "script"):
            (folder / f"{exporter}.onnx").write_bytes(export(model, ids, exporter == "dynamo"))
        with torch.no_grad():
            flat = [float(f"{v:.6g}") for v in Tensors(model).eval()(ids).flatten().tolist()]
        entry = "states" if name == "bert" else "main"
        (folder / "expected.json").write_text(json.dumps([{"ids": PROMPT, "entry": entry, "output": flat}]) + "\n")
        model.half().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        print(name, {f.name: f.stat().st_size for f in sorted(folder.iterdir())})


if __name__ == "__main__":
    main()
