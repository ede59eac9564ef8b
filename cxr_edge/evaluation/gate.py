"""What is demanded of an artifact beside its Keras model."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cxr_edge.errors import OptionError


@dataclass(frozen=True)
class Gate:
    """What is demanded of an artifact: shares of 1; the drops are in units of accuracy and of sensitivity."""

    min_agreement: float = 0.95
    max_accuracy_drop: float = 0.02
    max_sensitivity_drop: float = 0.05

    def check(self) -> None:
        """Raises OptionError for a share outside 0..1."""
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise OptionError(f"--{name.replace('_', '-')} {value}: a share from 0 to 1 is needed")


def demanded(
    min_agreement: float | None, max_accuracy_drop: float | None, max_sensitivity_drop: float | None
) -> dict[str, float]:
    """The demands that were named, as arguments of `Gate`."""
    given = {
        "min_agreement": min_agreement,
        "max_accuracy_drop": max_accuracy_drop,
        "max_sensitivity_drop": max_sensitivity_drop,
    }
    return {name: value for name, value in given.items() if value is not None}
