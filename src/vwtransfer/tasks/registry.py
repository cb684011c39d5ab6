"""Which tasks a study's models have."""

from collections.abc import Mapping

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.models.suite import Suite, build_part
from vwtransfer.tasks import Task
from vwtransfer.tasks.classification import Classification
from vwtransfer.tasks.detection import Detection
from vwtransfer.tasks.generation import Generation


def tasks_of(config: Config, suite: Suite) -> Mapping[str, Task]:
    """The task of each model, each once.

    A task of one's own is the class that a model of it names with `measured_by`.

    Raises:
        UserError: there is no such class, or generations have no judge.
    """
    found: dict[str, Task] = {}
    for name, model in suite.models.items():
        if model.task in found:
            continue
        if own := config.model.models[name].get("measured_by"):
            found[model.task] = build_part({"_target_": own}, f"model.{name}.measured_by")
        elif model.task == "generation":
            if suite.judge is None:
                raise UserError(f"model.judge: is missing, and model.{name} needs it.")
            found[model.task] = Generation(
                suite.judge,
                suite.safety,
                config.evaluation.metrics,
                suite.dino,
                config.model.fidelity_prompts,
            )
        elif model.task in BUILT_IN:
            found[model.task] = BUILT_IN[model.task]()
        else:
            raise UserError(
                f"model.{name}.task={model.task}: nothing measures this task. Name the class that "
                f"does with model.{name}.measured_by=package.module.Class."
            )
    return found


BUILT_IN: Mapping[str, type[Task]] = {"detection": Detection, "classification": Classification}
