"""Trials that train nothing, for tests of studies; worker processes import them from here."""

import time

from podium.core.errors import Diverged
from podium.records.training import EpochResult

EPOCHS = 9


def row(epoch: int, loss: float) -> EpochResult:
    """An epoch with a validation loss."""
    return EpochResult(
        epoch=epoch, step=epoch, learning_rate=0, train_loss=0, train_accuracy=0, val_loss=loss, val_accuracy=0
    )


def endless(number, parameters, callback) -> None:
    """An epoch, and then another one that nobody waits for."""
    callback.on_epoch_end(row(1, 1.0), 0.0)
    time.sleep(600)


def objective(number, parameters, callback) -> None:
    """Best at a rate of 0.03; rates above 0.6 diverge after an epoch; it would go on for nine epochs."""
    rate = parameters["train.learning_rate"]
    for epoch in range(1, EPOCHS + 1):
        if rate > 0.6 and epoch > 1:
            raise Diverged("the loss is nan")
        callback.on_epoch_end(row(epoch, abs(rate - 0.03) + 1 / epoch), 0.0)
