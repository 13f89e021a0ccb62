"""What a run was made from that has changed since it began."""

from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import bound
from rlsd_cli.data.sources import describe_splits, load_splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.fingerprint import DATA, PINNED, inputs_of
from rlsd_cli.runs.inputs import Change, changes
from rlsd_cli.runs.rundir import RunDir


def changed_since(run: RunDir, config: Config) -> list[Change]:
    """What a run was made from that is another now; nothing for a run that kept no record of it.

    A data file counts as changed where the problems in it are others.
    """
    if not (known := run.inputs()):
        return []
    now = inputs_of(config)
    files = changes(known, now, DATA)
    if files and all(file.now for file in files):
        files = _other_problems(run, config, files)
    return [*files, *changes(known, now, PINNED)]


def _other_problems(run: RunDir, config: Config, files: list[Change]) -> list[Change]:
    """These files in one change that counts their problems; none where the problems are the same."""
    try:
        splits = load_splits(config)
    except RlsdError as error:
        return [file._replace(now=f"not readable ({error.message})") for file in files]
    known, now = run.data(), describe_splits(splits._replace(train=bound(splits.train, config).kept))
    if known is None or known == now:
        return []
    was_said, now_said = (
        ", ".join(
            f"{s['problems']:,} {name.replace('_', '-')} problems (sha256 {s['sha256'][:8]})"
            for name, s in each.items()
        )
        for each in (known, now)
    )
    return [files[0]._replace(where="`, `".join(file.where for file in files), was=was_said, now=now_said)]
