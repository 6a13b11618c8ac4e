"""Trains the language model of examples/tiny_llama and writes its directory.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_tiny_llama.py

The text is `pydoc_data.topics`, the part of Python's documentation that `help()` shows and every Python carries
(copyright Python Software Foundation, PSF License Version 2). Other versions of Python have other texts, and so give
another model. The topics repeat each other: every passage is kept once, so that the last twentieth, which is held out,
had no part in training. No setting of the training was chosen by looking at it.

One thread and fixed seeds, so that a second run on the same kind of machine goes the same way.
"""

import copy
import json
import math
import pathlib
import re
import time
from collections import Counter
from pydoc_data.topics import topics

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional

ROOT = pathlib.Path(__file__).parents[2] / "examples/tiny_llama"
SEED = 20
VOCAB = 1024
CONTEXT = 128
STEPS = 1100
BATCH = 16
WARMUP = 50
PEAK = 3e-3
DROPOUT = 0.1
HELD_OUT = 0.05
LINES = 16
CALIBRATION = 20
# Tokens of a line of held_out.txt and calibration.txt.
LENGTHS = range(40, 101)

CONFIG = hf.LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=128,
    intermediate_size=352,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    rms_norm_eps=1e-5,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    tie_word_embeddings=True,
    attention_dropout=DROPOUT,
    bos_token_id=None,
    eos_token_id=None,
)


def passages():
    """The paragraphs of all topics, each on one line and once, without the rules under headings."""
    each = []
    for _, text in sorted(topics.items()):
        for paragraph in re.split(r"\n\s*\n", text):
            lines = [line for line in paragraph.splitlines() if re.search(r"\w", line)]
            each.append(" ".join(" ".join(lines).split()))
    return [p for p in dict.fromkeys(each) if p]


def split(each):
    """Passages to train on, and those that the last twentieth of the text consists of."""
    total = sum(len(p) for p in each)
    seen = 0
    for i, passage in enumerate(each):
        seen += len(passage)
        if seen > total * (1 - HELD_OUT):
            return each[:i], each[i:]
    raise SystemExit("there is no text")


def runs(passage, words=8):
    """Its runs of so many words."""
    each = passage.split()
    return {tuple(each[i : i + words]) for i in range(len(each) - words + 1)}


def unseen(held, training):
    """Held-out passages that share no run of words with the others: the topics also repeat each other in part."""
    known = set().union(*map(runs, training))
    return [passage for passage in held if known.isdisjoint(runs(passage))]


def make_tokenizer(text):
    """Byte-level pairs, so that every text has tokens; no special ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def stream(tokenizer, each):
    """All tokens of passages, a line end after each."""
    return torch.tensor(tokenizer.encode("\n".join(each) + "\n").ids)


def drop_in_training(model):
    """Dropout on the embeddings and on what each feed-forward adds, which the configuration has no key for."""

    def hook(module, _, out):
        return functional.dropout(out, DROPOUT, module.training)

    for module in [model.model.embed_tokens, *(layer.mlp for layer in model.model.layers)]:
        module.register_forward_hook(hook)


def rate(step):
    """Part of the peak at which a step learns: linear to the peak, then a cosine to a tenth of it."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def mean_nll(model, ids, length=CONTEXT):
    """Mean negative log likelihood of the successors in consecutive sequences."""
    model.eval()
    total = count = 0
    with torch.no_grad():
        for part in ids.split(length):
            if len(part) > 1:
                logits = model(input_ids=part[None]).logits[0, :-1]
                total += functional.cross_entropy(logits, part[1:], reduction="sum").item()
                count += len(part) - 1
    return total / count


def train(model, ids, held):
    """AdamW over random sequences of the text."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [dict(params=decayed, weight_decay=0.1), dict(params=others, weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    start = time.time()
    for step in range(STEPS):
        model.train()
        at = torch.randint(len(ids) - CONTEXT, (BATCH, 1)) + torch.arange(CONTEXT + 1)
        batch = ids[at]
        logits = model(input_ids=batch[:, :-1]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            nll = mean_nll(model, held)
            print(f"step {step + 1}: loss {loss.item():.3f}, held out {nll:.3f}, {time.time() - start:.0f} s", flush=True)


def unigram(ids, held):
    """Perplexity of the held-out text by the frequencies of tokens alone."""
    counts = Counter(ids.tolist())
    total = len(ids) + VOCAB
    return math.exp(-sum(math.log((counts[t] + 1) / total) for t in held.tolist()) / len(held))


def spread(tokenizer, each, count):
    """Passages of the wanted lengths, evenly spread over the text."""
    fitting = [p for p in each if len(tokenizer.encode(p).ids) in LENGTHS]
    if len(fitting) < count:
        raise SystemExit(f"{len(fitting)} passages have {LENGTHS} tokens")
    return [fitting[i * len(fitting) // count] for i in range(count)]


def write(model, tokenizer, training, held):
    """The directory: the model in f16, the tokenizer, the lines, and what the f16 weights give for them in f32."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.float16).float())
    # A copy: the change of type would round the buffers of the rotary embedding as well.
    copy.deepcopy(model).to(torch.float16).save_pretrained(ROOT)
    (ROOT / "model.safetensors").chmod(0o644)
    (ROOT / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save(str(ROOT / "tokenizer.json"))
    (ROOT / "calibration.txt").write_text("\n".join(spread(tokenizer, training, CALIBRATION)) + "\n")
    lines = spread(tokenizer, unseen(held, training), LINES)
    (ROOT / "held_out.txt").write_text("\n".join(lines) + "\n")
    cases = []
    for line in lines:
        ids = tokenizer.encode(line).ids
        perplexity = math.exp(mean_nll(model, torch.tensor(ids)))
        cases.append({"ids": ids, "perplexity": float(f"{perplexity:.7g}")})
    (ROOT / "expected.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    training, held = split(passages())
    tokenizer = make_tokenizer(training)
    ids, held_ids = stream(tokenizer, training), stream(tokenizer, held)
    model = hf.LlamaForCausalLM(CONFIG)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(ids)} tokens, {len(held_ids)} held out")
    print(f"unigram perplexity {unigram(ids, held_ids):.1f}", flush=True)
    drop_in_training(model)
    train(model, ids, held_ids)
    write(model, tokenizer, training, held)
    print(f"held-out perplexity {math.exp(mean_nll(model, held_ids)):.2f}")
    print(sum(f.stat().st_size for f in ROOT.iterdir() if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
