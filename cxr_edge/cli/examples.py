"""The Examples section of each command's help: what to type, and what for."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "audit": (
        ("cxr-edge audit x-rays", "before training: copies, mixed-up labels, shortcuts"),
        ("cxr-edge audit x-rays --html audit.html --with-images", "the same as a page"),
    ),
    "train": (
        ("cxr-edge train --data x-rays", "one folder per class"),
        ("cxr-edge train", "on phantoms, to see that it works"),
        ("cxr-edge train --resume", "resume the latest run"),
        ("cxr-edge train --data x-rays --folds 5", "cross-validation"),
        ("cxr-edge train --data x-rays --run runs/two --strategy multi-worker", "with the other workers in TF_CONFIG"),
        ("cxr-edge train --like runs/first --seed 1", "as another run, but for the seed"),
        ("cxr-edge train --config train.toml", "options from a file"),
        ("cxr-edge train --data x-rays --tensorboard", "with logs for tensorboard --logdir runs"),
    ),
    "shrink": (
        ("cxr-edge shrink", "the latest run in a quarter of its arithmetic"),
        ("cxr-edge shrink runs/large --run runs/small --macs 0.1", "in a tenth"),
        ("cxr-edge shrink runs/large --image-size 96", "fewer pixels, and more channels"),
        ("cxr-edge shrink runs/large --unlabelled more-x-rays", "learning from images without labels too"),
    ),
    "export": (
        ("cxr-edge export", "the latest run as int8 files"),
        ("cxr-edge export --quantize all", "float32, fp16, int8 and int8-ptq"),
        ("cxr-edge export --recipe raspberry-pi-5", "for one kind of device"),
        ("cxr-edge export --explain-int8", "which layers lose how much"),
        ("cxr-edge export --run runs/folds", "each fold of a cross-validation, and their pooled parity"),
    ),
    "verify": (
        ("cxr-edge verify", "every artifact against the Keras model"),
        ("cxr-edge verify --data new-x-rays", "on other images too, labelled or not"),
        ("cxr-edge verify --run runs/folds --min-agreement 0.99", "all folds of a cross-validation together"),
        ("cxr-edge verify --bundle bundle --replay", "on a device, without TensorFlow"),
    ),
    "evaluate": (
        ("cxr-edge evaluate", "the Keras model on the test split"),
        ("cxr-edge evaluate --bundle bundle --data x-rays", "its best artifact on your own images"),
        ("cxr-edge evaluate --data x-rays.csv --by sex --by age", "also for women, men and age bands"),
    ),
    "bench": (
        ("cxr-edge bench --quick", "under 20 seconds"),
        ("cxr-edge bench --images x-rays --threads 1,2,all", "with decoding, and a sweep of threads"),
        ("cxr-edge bench --compare before.json", "status 3 where a row became slower"),
    ),
    "report": (
        ("cxr-edge report", "the latest run as one HTML page"),
        ("cxr-edge report --run runs/first --output first.html", "another one"),
        ("cxr-edge report --run large --run small", "accuracy against latency of several runs"),
    ),
    "predict": (
        ("cxr-edge predict a.png b.dcm", "with the latest bundle"),
        ("cxr-edge predict x-rays --bundle bundle --csv answers.csv", "a folder of images, on a device"),
        ("cxr-edge predict a.png --heatmap where.png", "where the model sees it"),
        ("cxr-edge predict a.png --json -", "for another program"),
    ),
    "card": (
        ("cxr-edge card", "the latest bundle's model card, with what was measured since"),
        ("cxr-edge card --bundle runs/first/bundle", "another one's"),
    ),
    "bundle": (("cxr-edge bundle --only int8.tflite --output small", "one artifact, for a device"),),
    "release": (("cxr-edge release bundle --key key.pem --name ward-3 --version 4", "sign a bundle as version 4"),),
    "pack": (("cxr-edge pack bundle", "to bundle.zip, for a device"),),
    "install": (
        ("cxr-edge install bundle.zip --into models", "put it into force, if it computes what was validated"),
        ("cxr-edge install bundle.zip --into models --require-signature pub.pem", "only from its owner"),
    ),
    "rollback": (("cxr-edge rollback models", "the bundle before"),),
    "web": (
        ("cxr-edge web --serve", "the latest bundle in a browser on this machine"),
        ("cxr-edge web --bundle bundle --out page", "a folder for a web server"),
    ),
    "inspect": (("cxr-edge inspect model.tflite", "how much of a file is computed in integers"),),
    "devices": (("cxr-edge devices", "which runtimes and providers work here"),),
    "phantom": (("cxr-edge phantom phantoms --images 50", "50 images per class"),),
    "demo": (("cxr-edge demo", "the whole way on phantoms"),),
}


def epilog_of(command: str) -> str | None:
    """The section, in Rich markup; None for a command without examples."""
    examples = EXAMPLES.get(command)
    if not examples:
        return None
    width = max(len(typed) for typed, _ in examples)
    lines = (f"  {typed:<{width}}  [dim]{purpose}[/dim]" for typed, purpose in examples)
    return "\n".join(("[bold]Examples[/bold]", *lines))
