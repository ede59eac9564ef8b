"""The hierarchy of the project's errors; each knows the exit status of the command line."""


class CxrEdgeError(Exception):
    """Base of every error that this package raises on purpose. Its message names the cause and the remedy."""

    exit_code = 2


class DataError(CxrEdgeError):
    """A data set folder, a split or an image that cannot be used."""


class ImageError(DataError):
    """An image file that cannot be decoded, or cannot be a chest X-ray."""


def unusable(reasons: list[str], images: int, way_out: str = "fix or remove them") -> DataError:
    """The error about image files; each reason names its file."""
    named = "; ".join(sorted(reasons)[:10]) + (f"; and {len(reasons) - 10} more" if len(reasons) > 10 else "")
    return DataError(f"{len(reasons)} of {images} images cannot be used; {way_out}: {named}")


class CacheError(CxrEdgeError):
    """The cache of decoded images is damaged or cannot be written."""


class RunError(CxrEdgeError):
    """A run folder that is missing, unfinished or of another configuration."""


class WeightsError(CxrEdgeError):
    """Pre-trained weights that cannot be fetched or do not fit Xception."""


class ArtifactError(CxrEdgeError):
    """An artifact or bundle that is missing, tampered with or breaks the contract."""


class OptionError(CxrEdgeError):
    """An option with an unknown or out-of-range value, or in conflict with another."""


class MissingDependencyError(CxrEdgeError):
    """A package that the command needs is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed here: pip install 'cxr-edge[{extra}]'")


class ProviderError(CxrEdgeError):
    """A runtime is installed, but the provider that was asked for is missing or did not start."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or the type of the error if there is none, for use in our own."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


#: The extra that installs a package, for packages that some command imports.
_EXTRAS = {
    "ai_edge_litert": "litert",
    "cryptography": "signing",
    "flatbuffers": "litert",
    "imagehash": "train",
    "jinja2": "train",
    "markupsafe": "train",
    "matplotlib": "train",
    "mlflow": "mlflow",
    "onnx": "train",
    "onnxruntime": "onnx",
    "onnxruntime_ep_webgpu": "webgpu",
    "openpyxl": "train",
    "openvino": "openvino",
    "pydicom": "dicom",
    "scipy": "train",
    "sklearn": "train",
    "tensorboard": "tensorboard",
    "tensorflow": "train",
    "tensorflow_model_optimization": "train",
    "tf2onnx": "train",
    "tf_keras": "train",
}


def extra_with(module: str | None) -> str | None:
    """The extra that installs a module; None for a module that none of them brings."""
    return _EXTRAS.get((module or "").partition(".")[0])


class GateError(CxrEdgeError):
    """A demand on the result, such as parity with the reference model, was not met."""

    exit_code = 3
