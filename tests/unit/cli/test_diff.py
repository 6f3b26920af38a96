"""`podium diff`: what differs between two versions, for people and for scripts."""

import json

from tests.unit.cli.calls import one_line, podium
from tests.unit.registry.forgeries import json_of
from tests.unit.registry.promotions import NAME, client_of


def test_versions_that_are_alike_differ_in_nothing_and_each_change_is_named_in_its_section(project, versions):
    assert podium("diff", "1", "candidate").stdout == "versions 1 and 2 differ in nothing that is compared\n"
    artifacts = project.root / "packages" / "2" / "artifacts"
    json_of(artifacts / "model.json", lambda card: card["recipe"].update(weight_decay=0.5))
    json_of(artifacts / "model.json", lambda card: card["versions"].update(torch="9.9"))
    json_of(artifacts / "metrics.json", lambda metrics: metrics["accuracy"].update(value=0.125))
    client_of(project).set_model_version_tag(NAME, "2", "podium.outcome", "undecided")
    client_of(project).set_model_version_tag(NAME, "2", "podium.data_digest", "a" * 64)
    said = json.loads(podium("diff", "1", "2", "--json").stdout)
    assert [(each["section"], each["name"], each["second"]) for each in said] == [
        ("conditions", "outcome", "undecided"),
        ("data", "data_digest", "a" * 64),
        ("params", "recipe.weight_decay", "0.5"),
        ("tools", "versions.torch", "9.9"),
        ("metrics", "accuracy", "0.125"),
    ]
    shown = podium("diff", "1", "2").stdout
    assert f" {'a' * 12}\n" in shown and "a" * 13 not in shown


def test_a_version_that_is_not_there_is_one_line(project, versions):
    result = podium("diff", "1", "7")
    assert (result.exit_code, one_line(result.stderr)) == (2, True)
    assert "'7' is no model of the experiment, no version of podium-tiny" in result.stderr
