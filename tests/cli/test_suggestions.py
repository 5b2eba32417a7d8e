"""A mistyped word gets a suggestion: sources, options' choices, names, patterns, data sets and threat models."""

import click
import pytest

from auditor.cli.choice import describe_usage_error
from auditor.cli.scan import command as scan
from auditor.errors import ExitCode
from tests.factories.audits import audited
from tests.factories.command import run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "scan dmeo",
            "expected demo, robustbench, timm, torchvision, hub, local or checkpoint, got 'dmeo'; did you mean demo?",
        ),
        ("zoo list robustbnch", "got 'robustbnch'; did you mean robustbench?"),
        ("scan demo --protocol standrad", "strong or full, got 'standrad'; did you mean standard?"),
        ("scan demo --norm linf", "expected Linf, L2 or L1, got 'linf'; did you mean Linf?"),
        ("scan demo --targeted class", "expected superclass, got 'class'"),
        ("results list --status xyz", "queued or running, got 'xyz'\n"),
        ("scan demo --model standrad", "did you mean standard"),
        ("scan demo --match zzz", "match none of 16 models: no name matches 'zzz'; see `auditor zoo list` for all"),
        ("scan demo --match at-esp0.10*", "no name matches 'at-esp0.10*'; did you mean at-eps0.10"),
        ("scan demo --match demo:at-esp0.10", "did you mean demo:at-eps0.10"),
        ("scan demo --dataset fashion_mnst", "has the data set 'fashion_mnst'; did you mean fashion_mnist?"),
        ("zoo list demo --dataset xyz", "none has the data set 'xyz'; choose from fashion_mnist"),
        ("zoo list demo --threat-model Lnf", "none has the threat model 'Lnf'; did you mean Linf?"),
        ("results show demo:standrad", "no results are stored yet; `auditor scan demo` makes some"),
    ],
)
def test_a_mistyped_word(words: str, message: str) -> None:
    result = run(*words.split())
    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr.replace("Error: ", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demo:standrad", "no result of 'demo:standrad'; did you mean demo:standard?"),
        ("standard --protocol full", "no result of 'standard' under full; it has results under quick"),
        ("qqq", "no result of 'qqq'; `auditor results list` shows all there are"),
    ],
)
def test_a_model_without_a_result(words: str, message: str) -> None:
    audited("standard", 80)
    assert message in run("results", "show", *words.split()).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demo --samples x", "--samples: expected a whole number, got 'x'"),
        ("demo --samples 0", "--samples: expected a number in the range x>=1, got 0"),
        ("demo --triage x", "--triage: expected a number, got 'x'"),
        ("demo --protocol quik", "--protocol: expected screen, quick, standard, strong or full, got 'quik'; did you"),
        ("demo --sampels 3", "no such option '--sampels'."),
        ("", "source: expected a value"),
        ("demo --samples", "option '--samples' requires an argument."),
        ("demo . b", "got unexpected extra argument"),
    ],
)
def test_a_page_says_what_is_wrong_with_a_command(words: str, message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        scan.make_context("scan", words.split())
    said = describe_usage_error(caught.value)
    assert said.startswith(message)
    assert "\n" not in said
