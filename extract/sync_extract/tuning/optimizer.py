"""SGD as the recipe has it: rates and weight decay differ between kinds of weights.

Source: assembly101-action-recognition, models.py (`get_optim_policies`, with `fc_lr5`, without partial batch norm) and
main.py (`adjust_learning_rate`).
"""

import torch
from torch import nn

from sync_extract.tuning.config import TuningConfig

CLASSIFIER_WEIGHT_RATE = 5.0
CLASSIFIER_BIAS_RATE = 10.0
BIAS_RATE = 2.0


def parameter_groups(
    module: nn.Module, classifier: nn.Module | None, config: TuningConfig
) -> list[dict[str, object]]:
    """Parameters with their multiples of the rate: of biases and of batch norms without weight decay.

    Args:
        module: All that is trained.
        classifier: The linear layer in it that begins anew.
        config: Rate and weight decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            is_bias, decay = name == "bias", config.weight_decay
            if isinstance(part, nn.BatchNorm2d):
                rate, decay = 1.0, 0.0
            elif part is classifier:
                rate = CLASSIFIER_BIAS_RATE if is_bias else CLASSIFIER_WEIGHT_RATE
            else:
                rate = BIAS_RATE if is_bias else 1.0
            groups.setdefault((rate, 0.0 if is_bias else decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate * config.learning_rate, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def make_optimizer(module: nn.Module, classifier: nn.Module | None, config: TuningConfig) -> torch.optim.SGD:
    """SGD with momentum on `parameter_groups`."""
    groups = parameter_groups(module, classifier, config)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def set_learning_rate(optimizer: torch.optim.SGD, config: TuningConfig, epoch: int) -> None:
    """A tenth from each of the steps on."""
    factor = 0.1 ** sum(epoch >= step for step in config.learning_rate_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * config.learning_rate * factor
