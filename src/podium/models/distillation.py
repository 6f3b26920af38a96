"""What a student learns from another model: its answers to the very pixels that the student is given."""

import torch
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.config.train import Distil
from podium.models.inference import load_classifier
from podium.models.job import Job


class Teacher:
    """A trained model in evaluation mode. It sees each augmented image as the student does (Beyer et al. 2022)."""

    def __init__(self, job: Job, wish: Distil) -> None:
        """Reads the model of `job.teacher` to the job's device.

        Raises:
            ModelError: its weights are missing, or are not those of its card.
        """
        if job.teacher is None:
            raise ValueError("a job with `distil` has the folder of its teacher")
        self._wish, self._compute = wish, job.compute
        found = load_classifier(job.teacher, job.compute.runtime)
        self._module = found.module.requires_grad_(False)
        constants = [job.mean, job.std, found.card.mean, found.card.std]
        mean, std, own_mean, own_std = (torch.tensor(values).view(1, 3, 1, 1) for values in constants)
        same = (job.mean, job.std) == (found.card.mean, found.card.std)
        # from the student's normalisation to the teacher's: x std + mean are the values in [0, 1]
        self._factor = None if same else (std / own_std).to(job.compute.device)
        self._added = ((mean - own_mean) / own_std).to(job.compute.device)

    def losses(self, logits: torch.Tensor, x: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The losses of a student with what the teacher adds: (1 - weight) own + weight T^2 KL(teacher || student).

        Both are softened by the temperature T, whose square keeps the slopes of both parts in proportion (Hinton et al.
        2015, section 2).

        Args:
            logits: of the student, float32, shape (B, C).
            x: what the student was given, float32, shape (B, 3, H, W).
            own: loss of each image, float32, shape (B,), in nats.

        Returns:
            float32, shape (B,).
        """
        with torch.no_grad(), self._compute.autocast():
            seen = x if self._factor is None else x * self._factor + self._added
            answers = self._module(self._compute.place_batch(seen)).float()
        temperature, weight = self._wish.temperature, self._wish.weight
        wanted = F.log_softmax(answers / temperature, dim=1)
        given = F.log_softmax(logits / temperature, dim=1)
        apart = F.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=1)
        return (1 - weight) * own + weight * temperature**2 * apart
