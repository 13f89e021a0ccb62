"""Which families of models are run how, and how far that is from a plain forward pass of each sequence alone.

    python benchmarks/families/bench.py [NAME...] [--file FILE] [--write-docs]

For each toy model: log-probabilities and gradients of the scorer, greedy responses and reported log-probabilities of
the sampler, in float32; then two steps and an evaluation of `rlsd` with all left to the machine, of `opsd`, with an
adapter, with all layers computed again and sampling in bfloat16, and with weights in main memory. What is refused says
why.
"""

import argparse
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write

os.environ.setdefault("OMP_NUM_THREADS", "1")
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- table: benchmarks/families/bench.py -->\n", "<!-- end of table -->\n"
RUNS = {
    "rlsd": {"method": "rlsd", "dtype": "auto", "rollout.dtype": "auto", "optim.tokens_per_microbatch": None},
    "opsd": {"method": "opsd"},
    "adapter": {"method": "opsd", "adapter.rank": 4},
    "bfloat16, recompute": {
        "method": "opsd",
        "dtype": "bfloat16",
        "rollout.dtype": "bfloat16",
        "optim.recompute": 1.0,
    },
    "offloaded": {"method": "opsd", "optim.layout": "offloaded"},
}
"""Runs that are tried, and what of the config is theirs. `opsd` has gradients even where no response is right."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--file", type=Path, help="other toy configurations, in the form of `model_families.json`")
    parser.add_argument("--runs", action=argparse.BooleanOptionalAction, default=True, help="train, too")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    from benchmarks.families.toys import FILE, toys

    found = toys(arguments.file or FILE)
    names = arguments.names or list(found)
    rows = []
    os.environ["RLSD_HOME"] = tempfile.mkdtemp()  # measurements of toys are not kept
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=20) as pool:
        for row in pool.imap(tried, [(name, found[name], arguments.runs) for name in names]):
            rows.append(row)
            print(line(row), flush=True)
    wrong = [row["name"] for row in rows if row["verdict"] in ("wrong", "fails")]
    print(f"{len(rows)} models: " + ", ".join(f"{count} {kind}" for kind, count in counted(rows).items()))
    if not arguments.names and arguments.file is None:
        write("families", {"results": rows})
    if arguments.write_docs:
        write_docs(rows)
    if wrong:
        raise SystemExit(f"not right: {', '.join(wrong)}")


def tried(job: tuple[str, Any, bool]) -> dict[str, Any]:
    """The row of one toy model."""
    name, toy, runs = job
    logging.disable(logging.WARNING)
    from benchmarks.families.toys import build, save

    row: dict[str, Any] = {"name": name, "model_type": toy.model_type}
    try:
        model = build(toy)
    except Exception as error:
        return row | {"verdict": "not built", "why": said(error)}
    with tempfile.TemporaryDirectory() as folder:
        return row | judged(save(model, Path(folder)), runs)


def judged(folder: Path, runs: bool) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    from benchmarks.families.toys import BOUND, configured, load, rows, sampling_gaps, scoring_gaps, train
    from rlsd_cli.data.sources import load_splits
    from rlsd_cli.errors import RlsdError
    from rlsd_cli.grading.jobs import open_pool
    from rlsd_cli.rollout.probes import choose_decoder

    row: dict[str, Any] = {}
    try:
        policy = load(folder)
        decoder = choose_decoder(policy).__name__.removesuffix("Decoder").lower()
        row |= {"head": "plain" if policy.plain_head else "own", "packs": policy.execution.packed, "decoder": decoder}
        plain = AutoModelForCausalLM.from_pretrained(folder).eval()
        vocabulary, room = plain.get_input_embeddings().num_embeddings, policy.context_length
        given = rows(vocabulary, room)
        row["gaps"] = scoring_gaps(policy, plain, given)._asdict() | sampling_gaps(policy, plain, given)._asdict()
    except RlsdError as error:
        return row | {"verdict": "refused", "why": error.message.replace(f" `{folder}`", "")}
    except Exception as error:
        return row | {"verdict": "fails", "why": said(error)}
    gaps = row["gaps"]
    if max(gaps["logp"], gaps["gradient"], gaps["drawn"]) > BOUND or gaps["wrong"]:
        return row | {"verdict": "wrong", "why": "further from a plain forward pass than rounding"}
    failed, refused = {}, {}
    if runs:
        splits = load_splits(configured(folder))
        with open_pool(configured(folder)) as pool:
            for run, overrides in RUNS.items():
                try:
                    train(configured(folder, overrides), splits, pool)
                except RlsdError as error:
                    refused[run] = error.message
                except Exception as error:
                    failed[run] = said(error)
    return row | {"verdict": "fails" if failed else "right", "refused": refused, "failed": failed}


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]


def counted(rows: list[dict[str, Any]]) -> dict[str, int]:
    verdicts = [row["verdict"] for row in rows]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}


def line(row: dict[str, Any]) -> str:
    gaps = row.get("gaps") or {}
    how = f"{row['head']}, {'packed' if row['packs'] else 'padded'}, {row['decoder']}" if "decoder" in row else ""
    numbers = "".join(f" {key} {value:.0e}" for key, value in gaps.items() if key not in ("wrong", "greedy"))
    apart = {**row.get("failed", {}), **row.get("refused", {})}
    return f"{row['name']:22} {row['verdict']:9} {how:24}{numbers} {row.get('why', '')} {apart or ''}".rstrip()


def write_docs(rows: list[dict[str, Any]]) -> None:
    """Replace the table of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join([*table(rows), ""]) + END + after, encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| toy model | `model_type` | head | batches | decoder | log-probability | gradient | reported |"
    yield "|---|---|---|---|---|--:|--:|--:|"
    for row in rows:
        if row["verdict"] == "not built":
            continue
        cells = [row["name"], f"`{row['model_type']}`"]
        if "gaps" in row:
            gaps = row["gaps"]
            cells += [row["head"], "packed" if row["packs"] else "padded", row["decoder"]]
            cells += [f"{gaps[key]:.0e}" for key in ("logp", "gradient", "drawn")]
        else:
            cells += [f"refused: {row['why']}", "", "", "", "", ""]
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
