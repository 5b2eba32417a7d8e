"""The study of what predicts robustness: ``python -m benchmarks.study COMMAND``.

``train`` and ``measure`` are resumable; several may run at once with ``--share 0/2`` and ``--share 1/2``.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.study.recipes import MODELS, StudyModel

PAGE_HEAD = """# Screening: measures of the study zoo

Made by `python -m benchmarks.study evaluate --write`: do not edit. What it means: [screening.md](screening.md).

"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("list", "print each model, and whether it is trained"),
        ("train", "train what is not trained yet, in the order of the recipes"),
        ("run", "train and measure what lacks a row, one model after another"),
        ("measure", "append the row of each trained model that has none to rows.jsonl"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--share", default="0/1", help="I/N: every N-th model from the I-th on")
        command.add_argument("--match", default="", help="only models whose name contains this")
        command.add_argument("--limit", type=int, default=len(MODELS), help="only the first so many recipes")
        if name in ("measure", "run"):
            command.add_argument("--norm", nargs="+", default=["Linf", "L2"], choices=("Linf", "L2"))
            command.add_argument("--protocol", default="short", choices=("short", "standard"))
            command.add_argument("--again", metavar="MEASURE", help="measure again what has a row without this measure")
    for name, text in (("evaluate", "print the figures of docs/screening.md"), ("fit", "write the score's constants")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--final", action="store_true", help="the models held out to the end: once")
        command.add_argument("--write", type=Path, help="a page for what evaluate prints")
    commands.add_parser("triage", help="print what triage saves and misses on the study zoo")
    commands.add_parser("gap", help="train the grid of lengths and seeds of docs/findings.md, and draw its pictures")
    commands.add_parser("fool", help="train models against the score, and print how far they fool it")
    options = parser.parse_args()
    if options.command == "triage":
        from benchmarks.study.rows import read_rows
        from benchmarks.study.triage import triage_table

        print(triage_table(read_rows()))
        return
    if options.command == "gap":
        from benchmarks.study import gap
        from benchmarks.study.rows import read_rows

        gap.run_grid()
        gap.draw(gap.usable(read_rows()), gap.read_cells(), Path("docs"))
        return
    if options.command == "fool":
        from benchmarks.study.fooling import fooling_table

        print(fooling_table())
        return
    if options.command in ("evaluate", "fit"):
        if options.command == "fit":
            write_constants(options.final)
        else:
            evaluate(options.final, options.write)
        return
    chosen = _chosen(options.share, options.match, options.limit)
    if options.command == "run":
        for model in chosen:
            if _norms_to_do(model, options.norm, options.again):
                train_models([model])
                measure_models([model], options.norm, options.protocol, options.again)
    elif options.command == "measure":
        measure_models(chosen, options.norm, options.protocol, options.again)
    else:
        {"list": list_models, "train": train_models}[options.command](chosen)


def _chosen(share: str, match: str, limit: int) -> list[StudyModel]:
    first, of = map(int, share.split("/"))
    return [model for model in MODELS[:limit][first::of] if match in model.name]


def list_models(models: list[StudyModel]) -> None:
    from benchmarks.study.zoo import is_trained

    for model in models:
        print(f"{model.name}\twidth {model.width:g}\t{'final' if model.final else ''}\t{is_trained(model)}")


def train_models(models: list[StudyModel]) -> None:
    from benchmarks.study.zoo import is_trained, train_and_save

    for model in models:
        if not is_trained(model):
            found = train_and_save(model)
            print(f"{time.strftime('%H:%M:%S')} {model.name}: {found['training_seconds']:.0f} s", file=sys.stderr)


def measure_models(models: list[StudyModel], norms: list[str], protocol: str, again: str | None = None) -> None:
    from benchmarks.study.rows import append_row, latest_rows, measure_model
    from benchmarks.study.zoo import is_trained

    for model in models:
        if not is_trained(model):
            continue
        for norm in _norms_to_do(model, norms, again):
            row = measure_model(model, norm, protocol, latest_rows().get((model.name, norm)))
            append_row(row)
            seconds = row["seconds"]
            print(
                f"{time.strftime('%H:%M:%S')} {model.name} {norm}: clean {row['clean']:.3f}, robust {row['robust']}, "
                f"{seconds['measures']:.0f} + {seconds['attacks']:.0f} s",
                file=sys.stderr,
            )


def _norms_to_do(model: StudyModel, norms: list[str], again: str | None = None) -> list[str]:
    """The norms under which a model has no row, or none with the measure ``again``."""
    from benchmarks.study.rows import latest_rows

    rows = latest_rows()
    done = [norm for norm in norms if (model.name, norm) in rows]
    return [norm for norm in norms if norm not in done or (again and again not in rows[model.name, norm]["measures"])]


def evaluate(final: bool, page: Path | None) -> None:
    from benchmarks.study.evaluate import report
    from benchmarks.study.rows import read_rows

    text = "\n".join(report(read_rows(), norm, final=final) for norm in ("Linf", "L2"))
    print(text)
    if page is not None:
        page.write_text(PAGE_HEAD + text.rstrip("\n") + "\n", encoding="utf-8")


def write_constants(final: bool) -> None:
    """Fit on the development models; with ``final`` on all, which is for the constants that are shipped at the end."""
    from auditor.screening.constants import FILE
    from auditor.screening.features import FEATURES, FEATURES_OF_MANY
    from benchmarks.study.evaluate import counted, score_families
    from benchmarks.study.fitting import Fit, HeldOut, constants_toml, fit
    from benchmarks.study.rows import Row, read_rows

    fits: dict[str, tuple[Fit, list[Row]]] = {}
    held_out: dict[str, HeldOut] = {}
    for norm in ("Linf", "L2"):
        rows, _ = counted(read_rows(), norm, final=False)
        rows += counted(read_rows(), norm, final=True)[0] if final else []
        if len(rows) >= 20:
            for name, features in ((norm, FEATURES), (f"{norm}-many", FEATURES_OF_MANY)):
                fits[name] = fit(rows, tuple(features)), rows
                held_out[name] = score_families(rows, tuple(features))
    FILE.write_text(constants_toml(fits, held_out), encoding="utf-8")
    print(f"{FILE}: {', '.join(f'{norm} from {len(rows)} models' for norm, (_, rows) in fits.items()) or 'nothing'}")


if __name__ == "__main__":
    main()
