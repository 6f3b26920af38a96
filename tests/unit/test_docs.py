"""What the documents name exists: files, modules, and the commands of `make`."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
# Below these a path may start. What a run makes is not in the repository.
FROM = [ROOT, ROOT / "src/podium", ROOT / "docs", ROOT / "experiments", ROOT / "tools"]
NAMED = re.compile(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.md|\.toml|/))(?::\w+)?`")
OF_A_RUN = re.compile(
    r"^(artifacts|reports|data|\.podium|mlruns|train|val|test|logs|conf|mistakes|predictions_heat_maps)/|^ray\.py$"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_and_folder_a_document_names_exists(document: Path) -> None:
    named = {name for name in NAMED.findall(document.read_text()) if not OF_A_RUN.match(name)}
    assert not sorted(name for name in named if not any((base / name).exists() for base in FROM))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_glossary_has_a_word_once() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    words = [word for row in rows for word in row.split(", ") if not re.fullmatch(r"-+|[Ww]ord|[Tt]erm", word)]
    assert len(words) > 50 and sorted(words) == sorted(set(words))


def test_every_make_target_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z]+)", document.read_text())) <= targets, document.name


def test_make_repro_outside_of_git_says_what_to_do(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(["make", "repro"], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is in no git repository, which DVC needs: clone it with git, or run: git init" in done.stderr


def test_make_ui_takes_a_free_port_that_browsers_open_and_starts_one_worker() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", "")
    code = next(line.partition(" := ")[2] for line in text.splitlines() if line.startswith("FREE_PORT"))

    def port(first: int) -> int:
        return int(subprocess.check_output([sys.executable, "-c", code, str(first)]))

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        assert port(taken) > taken
    assert port(5060) > 5061  # which Chrome and Firefox refuse
    recipe = next(line for line in text.splitlines() if "mlflow ui" in line)
    assert "--workers 1 " in recipe and "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in recipe


def test_every_address_of_mlflow_opens_in_the_view_for_training() -> None:
    """MLflow 3.17 opens in its view for agents otherwise, whatever the experiment's kind."""
    texts = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    links = [line for text in texts for line in text.read_text(encoding="utf-8").splitlines() if "#/" in line]
    assert len(links) >= 2
    assert [link for link in links if "?workflowType=machine_learning" not in link] == []
    assert "?workflowType=machine_learning" in (ROOT / "README.md").read_text(encoding="utf-8")
