"""Models and audits in the API; ranks on pages of longer lists."""

import pytest

from tests.factories.audits import audited
from tests.web.serving import client


@pytest.mark.long
def test_models_by_name_page_by_page() -> None:
    for number in (3, 1, 2, 0, 4):
        audited(f"M{number}" if number % 2 else f"m{number}", 50)
    audited("m2", 60, seed=1)
    server, found, cursor = client(), [], ""
    while cursor is not None:
        page = server.get(f"/api/v1/models?limit=2{cursor and f'&cursor={cursor}'}").json()
        found += page["models"]
        cursor = page["next"]
    assert [row["model"] for row in found] == ["demo:M1", "demo:M3", "demo:m0", "demo:m2", "demo:m4"]
    assert [row["audits"] for row in found] == [1, 1, 1, 2, 1]
    assert server.get("/api/v1/models?source=timm").json() == {"models": [], "next": None}
    assert server.get("/api/v1/models?cursor=WyJuYW1lIiw3XQ").status_code == 422


def test_a_model_with_its_results() -> None:
    audited("cifar10/Linf/One", 50)
    server = client()
    model = server.get("/api/v1/models/demo:cifar10/Linf/One").json()
    assert (model["model"], model["audits"]) == ("demo:cifar10/Linf/One", 1)
    assert [row["model"] for row in model["results"]] == ["demo:cifar10/Linf/One"]
    missing = server.get("/api/v1/models/demo:cifar10")
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no model 'demo:cifar10'")


def test_audits_are_all_of_them_the_newest_first() -> None:
    for robust in (10, 20, 30):
        audited("m", robust, seed=robust)
    rows = client().get("/api/v1/audits?limit=2").json()
    assert [row["id"] for row in rows["results"]] == [3, 2]
    behind = client().get(f"/api/v1/audits?limit=2&cursor={rows['next']}").json()
    assert [row["id"] for row in behind["results"]] == [1]
