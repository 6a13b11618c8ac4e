"""Sentence embeddings of all-MiniLM-L6-v2 by transformers, for cli/tests/minilm.rs.

    pip install -r scripts/models/requirements.txt
    python scripts/models/make_minilm.py "$(scripts/models/fetch-minilm.sh)"

Writes the tokens and the first dimensions of the embeddings of the sentences in cli/tests/fixtures/minilm/sentences.txt.
"""

import json
import pathlib
import sys

import torch
import transformers as hf

ROOT = pathlib.Path(__file__).parents[2] / "cli/tests/fixtures/minilm"
KEPT = 64


def main():
    model = hf.BertModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval().float()
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_file=sys.argv[1] + "/tokenizer.json")
    tokenizer.backend_tokenizer.no_padding()
    cases, embeddings = [], []
    with torch.no_grad():
        for sentence in (ROOT / "sentences.txt").read_text().splitlines():
            ids = tokenizer.backend_tokenizer.encode(sentence).ids
            states = model(input_ids=torch.tensor([ids])).last_hidden_state
            mean = torch.nn.functional.normalize(states.mean(dim=1), dim=1)[0]
            embeddings.append(mean)
            cases.append({"ids": ids, "embedding": [float(f"{v:.5g}") for v in mean[:KEPT].tolist()]})
    all = torch.stack(embeddings)
    near = all @ all.T - 2 * torch.eye(len(all))
    for case, row in zip(cases, near):
        case["nearest"] = int(row.argmax())
    (ROOT / "expected.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
