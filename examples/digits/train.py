"""Trains the two digit classifiers of this example and writes every file it ships.

Data: `sklearn.datasets.load_digits`, 1,797 images of 8x8 pixels with values 0..16, which the
models see divided by 16. 360 images, a fifth of each class, are held out: nothing here is
chosen by looking at them, they only give the accuracies that are printed.

Run `python train.py` in an environment with `requirements.txt`. One thread, fixed seeds:
a second run on the same kind of machine writes the same bytes.
"""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
SEED = 0
HELD_OUT = 360
SAMPLES = 50
SINGLE_FILES = 3
EPOCHS = 150
BATCH = 64
# The largest difference allowed between PyTorch's logits and onnxruntime's.
TOLERANCE = 1e-5


class Mlp(nn.Module):
    """64 -> 48 -> 32 -> 10 with relu, on [batch, 64]."""

    input_shape = (64,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 48)
        self.fc2 = nn.Linear(48, 32)
        self.fc3 = nn.Linear(32, 10)

    def forward(self, x):
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.fc3(x)


class Cnn(nn.Module):
    """Two 3x3 convolutions, each followed by relu and 2x2 max pooling, on [batch, 1, 8, 8]."""

    input_shape = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.fc(torch.flatten(x, 1))


def split():
    """The pixels as integers 0..16 and the labels: (train, held out), in a fixed order."""
    digits = load_digits()
    pixels = digits.data.astype(np.uint8)
    return train_test_split(
        pixels, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=SEED
    )


def as_input(pixels, model):
    return torch.from_numpy(pixels.astype(np.float32) / 16).reshape(-1, *model.input_shape)


def train(make_model, pixels, labels):
    """AdamW with a one-cycle learning rate and pixel noise, for a fixed number of epochs."""
    torch.manual_seed(SEED)
    model = make_model()
    x, y = as_input(pixels, model), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = EPOCHS * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            noisy = (x[batch] + 0.1 * torch.randn_like(x[batch])).clamp(0, 1)
            loss = functional.cross_entropy(model(noisy), y[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def export_onnx(model, path):
    """Exports with a dynamic batch dimension and embedded weights.

    The TorchScript exporter names each node after its module (`/conv1/Conv`) and writes
    `Flatten` as such, where the newer one numbers nodes and writes a `Reshape`.
    """
    torch.onnx.export(
        model,
        (torch.zeros(2, *model.input_shape),),
        path,
        dynamo=False,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
    )
    onnx.checker.check_model(path, full_check=True)


def logits(model, path, pixels):
    """The model's outputs, from PyTorch after checking that onnxruntime agrees."""
    x = as_input(pixels, model)
    with torch.no_grad():
        ours = model(x).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": x.numpy()})
    error = float(np.abs(ours - theirs).max())
    if error > TOLERANCE:
        raise SystemExit(f"{path.name}: onnxruntime differs from PyTorch by {error:.2e}")
    return ours


def write_json(path, value):
    path.write_text(json.dumps(value, separators=(", ", ": ")) + "\n")


def write_samples(pixels, labels):
    """The batch of samples, and the first few as single inputs in each accepted format."""
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    values = pixels.astype(np.float32) / 16
    np.save(folder / "samples.npy", values)
    write_json(folder / "labels.json", labels.tolist())
    for i in range(SINGLE_FILES):
        stem = folder / f"{i:02d}_label{labels[i]}"
        # Sixteenths are exact in decimal, so JSON and .npy hold the same numbers.
        write_json(stem.with_suffix(".json"), values[i : i + 1].tolist())
        np.save(stem.with_suffix(".npy"), values[i : i + 1])
        grey = np.floor(pixels[i].astype(np.float64) * 255 / 16 + 0.5).astype(np.uint8)
        Image.fromarray(grey.reshape(8, 8)).save(stem.with_suffix(".png"))


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_pixels, held_pixels, train_labels, held_labels = split()

    write_samples(held_pixels[:SAMPLES], held_labels[:SAMPLES])
    np.save(HERE / "samples" / "heldout.npy", held_pixels)
    np.save(HERE / "samples" / "heldout_labels.npy", held_labels.astype(np.uint8))

    expected, accuracy = {}, {}
    for name, make_model in (("mlp", Mlp), ("cnn", Cnn)):
        model = train(make_model, train_pixels, train_labels)
        weights = HERE / f"{name}.safetensors"
        save_file(model.state_dict(), weights)
        weights.chmod(0o644)
        path = HERE / f"{name}.onnx"
        export_onnx(model, path)
        outputs = logits(model, path, held_pixels)
        correct = int((outputs.argmax(1) == held_labels).sum())
        accuracy[name] = {"correct": correct, "of": HELD_OUT}
        expected[name] = [[float(f"{v:.7g}") for v in row] for row in outputs[:SAMPLES]]
        print(f"{name}: {correct} of {HELD_OUT} held-out images right, {correct / HELD_OUT:.2%}")

    # One image a line keeps the file readable in a diff.
    rows = {
        name: "[\n    " + ",\n    ".join(json.dumps(row) for row in table) + "\n  ]"
        for name, table in expected.items()
    }
    body = ",\n".join(f'  "{name}": {table}' for name, table in rows.items())
    (HERE / "samples" / "expected_logits.json").write_text("{\n" + body + "\n}\n")
    write_json(HERE / "samples" / "accuracy.json", accuracy)


if __name__ == "__main__":
    main()
