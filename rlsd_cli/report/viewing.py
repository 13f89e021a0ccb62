"""What `rlsd view` shows of a step."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import known_method
from rlsd_cli.report.rollouts import RECORDED, Shown, choose, shown_of, with_methods
from rlsd_cli.runs.rundir import RunDir, named_run


class Viewed(NamedTuple):
    """Rollouts of a step, the methods that were asked about them, and why some said nothing."""

    run: RunDir
    shown: Sequence[Shown]
    methods: Sequence[str]
    skipped: Mapping[str, str]

    def token_rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for every token; of the methods what each would push it by."""
        for each in self.shown:
            record = each.record
            others = [each.tokens(name) for name in self.methods]
            for token in each.tokens(RECORDED):
                yield (
                    *(record.problem_id, record.group, record.sample, record.outcome, record.advantage, token.place),
                    *(token.text, token.direction, token.credit, token.pull, token.weight),
                    *(token.logp, token.teacher_logp, token.gap, token.entropy, token.clipped),
                    *(tokens[token.place].push for tokens in others),
                )

    def as_json(self) -> Iterator[dict[str, Any]]:
        """Every rollout as it was written, with the text of its tokens and the signals of methods."""
        for each in self.shown:
            signals = {name: signal._asdict() for name, signal in each.signals.items() if name != RECORDED}
            more = {"alternatives": each.alternatives} if each.alternatives else {}
            yield each.record.row() | {"tokens": each.texts, "methods": signals} | more

    def browse(self) -> None:
        """Show them in the terminal until a key quits."""
        from rlsd_cli.report.screen import browse

        browse(self.shown, self.methods, self.run.name)

    def page(self) -> str:
        """One page that needs no network."""
        from rlsd_cli.report.page import rollouts_page

        return rollouts_page(self.run, self.shown, self.methods, self.skipped)


def viewed(
    name: Path,
    root: Path,
    step: int | None,
    where: str | None,
    sort: str | None,
    *,
    reverse: bool,
    limit: int | None,
    methods: str | None,
    alternatives: int,
) -> Viewed:
    """The rollouts of a run's step that a condition leaves, in order.

    Raises:
        RlsdError: there is no such run, step, field or method.
    """
    run = named_run(name, root)
    shown = choose(shown_of(run, step), where, sort, reverse=reverse)[:limit]
    asked = [known_method(part.strip()).name for part in methods.split(",")] if methods else []
    shown, skipped = with_methods(shown, run, asked, alternatives)
    said = [name for name in dict.fromkeys(asked) if any(name in each.signals for each in shown)]
    return Viewed(run, shown, said, skipped)
