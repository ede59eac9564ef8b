"""Write a training's checkpoints, with the reason where that fails."""

from __future__ import annotations

from typing import Any

from cxr_edge.errors import RunError
from cxr_edge.training.backend import tf
from cxr_edge.training.strategy import LOST_WORKER


def save_checkpoint(manager: Any, number: int) -> None:
    """Save a TensorFlow `CheckpointManager`'s checkpoint under a number.

    Raises:
        RunError: it cannot be written, for example because the disk is full.
    """
    try:
        manager.save(checkpoint_number=number)
    except LOST_WORKER:
        raise
    except tf.errors.OpError as error:
        # The message is "FILE; REASON [Op:...]", and the file a temporary one.
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise RunError(
            f"{manager.directory}: no checkpoint can be written ({reason}); fix that, and resume from the last one"
        ) from None
