"""What the commands that read problems share: their config, how views are read, and the jail for programs."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rlsd_cli.commands.fitting import load_tried
from rlsd_cli.commands.programs import announce_sandbox

if TYPE_CHECKING:
    from rlsd_cli.config.resolve import Resolved
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.problems import Found
    from rlsd_cli.data_checks.check_views import Reading


def resolve_for(arguments: list[str]) -> "Resolved":
    """The config of PRESET|FILE... and `key=value`...; without a preset the defaults, not those of `quickstart`."""
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments, target_layer

    targets, overrides = split_arguments(arguments)
    return merge([target_layer(target)[1] for target in targets], Layer(COMMAND_LINE, overrides))


def reading_of(resolved: "Resolved") -> "Reading":
    """How views are read: lengths are known if a model is named, and a view must exist if it or a method is named."""
    from rlsd_cli.data_checks.check_views import Reading

    asked = {key for key, origin in resolved.origins.items() if origin != "default"}
    view_asked = not asked.isdisjoint({"method", "teacher.view"})
    if "model" not in asked:
        return Reading(view_asked)
    return Reading(view_asked, *load_tried(resolved.config))


def with_sandbox(found: "Iterable[Found]", config: "Config") -> "Iterator[Found]":
    """The rows; before the first that needs a program to be run, it is made sure that programs can be run."""
    from rlsd_cli.grading.jobs import is_code

    announced = False
    for row in found:
        if not announced and row.problem and is_code(row.problem, config):
            announce_sandbox(config)
            announced = True
        yield row
