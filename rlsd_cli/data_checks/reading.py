"""What the commands that read problems share: their config, how views are read, and the jail for programs."""

from collections.abc import Iterable, Iterator

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, Resolved, merge, split_arguments, target_layer
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Found
from rlsd_cli.data_checks.check_views import Reading
from rlsd_cli.grading.jobs import is_code
from rlsd_cli.grading.programs import with_sandbox
from rlsd_cli.rollout.fitting import load_tried


def resolve_for(arguments: list[str]) -> Resolved:
    """The config of PRESET|FILE... and `key=value`...; without a preset the defaults, not those of `quickstart`."""
    targets, overrides = split_arguments(arguments)
    return merge([target_layer(target)[1] for target in targets], Layer(COMMAND_LINE, overrides))


def reading_of(resolved: Resolved) -> Reading:
    """How views are read: lengths are known if a model is named, and a view must exist if it or a method is named."""
    asked = {key for key, origin in resolved.origins.items() if origin != "default"}
    view_asked = not asked.isdisjoint({"method", "teacher.view"})
    if "model" not in asked:
        return Reading(view_asked)
    return Reading(view_asked, *load_tried(resolved.config))


def sandboxed(found: Iterable[Found], config: Config) -> Iterator[Found]:
    """Pass rows on; before the first whose answer is a program, make sure that programs can be run."""
    return with_sandbox(found, lambda row: row.problem is not None and is_code(row.problem, config), config)
