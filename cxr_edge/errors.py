"""The class tree of the project's errors; each knows the exit status the command line ends with."""


class CxrEdgeError(Exception):
    """Base of every error this package raises on purpose. Its message names the offending thing and the way out."""

    exit_code = 2


class DataError(CxrEdgeError):
    """A data set folder, a split or an image that cannot be used."""


class ImageError(DataError):
    """One image file that cannot be decoded."""


class RunError(CxrEdgeError):
    """A run folder that is missing, unfinished or of another configuration."""


class WeightsError(CxrEdgeError):
    """Pre-trained weights that cannot be fetched or do not fit Xception."""


class ArtifactError(CxrEdgeError):
    """An artifact or bundle that is missing, tampered with or breaks the contract."""


class OptionError(CxrEdgeError):
    """An option's value that is unknown or out of range."""


class MissingDependencyError(CxrEdgeError):
    """A package that the command needs is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed here: pip install 'cxr-edge[{extra}]'")


class GateError(CxrEdgeError):
    """A demand on the result, such as parity with the reference model, was not met."""

    exit_code = 3
