"""The Examples section of each command's help: what to type, and what for."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "audit": (
        ("cxr-edge audit x-rays", "before training"),
        ("cxr-edge audit x-rays --html audit.html", "the same as a page"),
    ),
    "train": (
        ("cxr-edge train --data x-rays", "one folder per class"),
        ("cxr-edge train", "on phantoms"),
        ("cxr-edge train --resume", "resume the latest run"),
        ("cxr-edge train --data x-rays --folds 5", "cross-validation"),
        ("cxr-edge train --data x-rays --strategy mirrored", "on all GPUs here"),
        ("cxr-edge train --like runs/first --seed 1", "the same with another seed"),
        ("cxr-edge train --config train.toml", "options from a file"),
        ("cxr-edge train --data x-rays --tensorboard", "with TensorBoard logs"),
    ),
    "shrink": (
        ("cxr-edge shrink", "a quarter of the arithmetic"),
        ("cxr-edge shrink runs/large --macs 0.1", "a tenth, of that run"),
        ("cxr-edge shrink --latency 0.3", "0.3 of its int8 latency, measured"),
        ("cxr-edge shrink --image-size 96", "fewer pixels, more channels"),
        ("cxr-edge shrink --unlabelled more-x-rays", "with images without labels"),
        ("cxr-edge shrink folds --run students", "a student of each fold"),
    ),
    "export": (
        ("cxr-edge export", "the latest run as int8 files"),
        ("cxr-edge export --quantize all", "float32, fp16, int8 and int8-ptq"),
        ("cxr-edge export --recipe raspberry-pi-5", "for one kind of device"),
        ("cxr-edge export --explain-int8", "how much each layer loses in int8"),
        ("cxr-edge export --max-drop 0.5", "with layers in float if needed"),
        ("cxr-edge export --run runs/folds", "each fold, and their pooled parity"),
    ),
    "cascade": (
        ("cxr-edge cascade --small s --full f", "one bundle of two runs"),
        ("cxr-edge cascade --small s --full f --format onnx", "of their ONNX files"),
        ("cxr-edge cascade --small students --full folds", "a cascade of each fold"),
    ),
    "verify": (
        ("cxr-edge verify", "every artifact against Keras"),
        ("cxr-edge verify --data new-x-rays", "on other images, too"),
        ("cxr-edge verify --run runs/folds", "all folds together"),
        ("cxr-edge verify --bundle bundle --replay", "on a device, without TensorFlow"),
    ),
    "evaluate": (
        ("cxr-edge evaluate", "Keras on the test split"),
        ("cxr-edge evaluate --bundle bundle --data x-rays", "an artifact on your images"),
        ("cxr-edge evaluate --data x-rays.csv --by sex", "for women and men, too"),
    ),
    "bench": (
        ("cxr-edge bench --quick", "under 20 seconds"),
        ("cxr-edge bench --images x-rays --threads 1,2", "your files, 1 and 2 threads"),
        ("cxr-edge bench --compare before.json", "exit status 3 if slower"),
    ),
    "report": (
        ("cxr-edge report", "the latest run as one HTML page"),
        ("cxr-edge report --run runs/first", "another run"),
        ("cxr-edge report --run large --run small", "several runs in one plot"),
    ),
    "predict": (
        ("cxr-edge predict a.png b.dcm", "with the latest bundle"),
        ("cxr-edge predict x-rays --csv answers.csv", "a folder of images, to a table"),
        ("cxr-edge predict a.png --heatmap where.png", "with a heat map"),
        ("cxr-edge predict a.png --json -", "for another program"),
    ),
    "card": (
        ("cxr-edge card", "of the latest bundle"),
        ("cxr-edge card --bundle runs/first/bundle", "of another bundle"),
    ),
    "bundle": (("cxr-edge bundle --only int8.tflite --output small", "one artifact, for a device"),),
    "release": (("cxr-edge release bundle --key key.pem --name ward-3 --version 4", "sign it"),),
    "pack": (("cxr-edge pack bundle", "to bundle.zip, for a device"),),
    "install": (("cxr-edge install bundle.zip --into models", "after checking its outputs"),),
    "rollback": (("cxr-edge rollback models", "return to the previous bundle"),),
    "web": (
        ("cxr-edge web --serve", "the latest bundle, in a browser"),
        ("cxr-edge web --bundle bundle --output page", "a folder for a web server"),
    ),
    "inspect": (("cxr-edge inspect model.tflite", "whether it computes in integers"),),
    "devices": (("cxr-edge devices", "which runtimes and providers work here"),),
    "phantom": (("cxr-edge phantom phantoms --images 50", "50 images per class"),),
    "demo": (("cxr-edge demo", "the whole pipeline on phantoms"),),
}


def epilog_of(command: str) -> str | None:
    """The section, in Rich markup; None for a command without examples."""
    examples = EXAMPLES.get(command)
    if not examples:
        return None
    width = max(len(typed) for typed, _ in examples)
    lines = (f"  {typed:<{width}}  [dim]{purpose}[/dim]" for typed, purpose in examples)
    return "\n".join(("[bold]Examples[/bold]", *lines))
