"""Which commit results are of."""

import subprocess

from podium.report.results import git_commit


def test_where_git_does_not_read_another_user_s_folder_a_warning_says_how_to_allow_it(tmp_path, monkeypatch, capsys):
    for command in (
        ("init", "-q"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"),
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert len(git_commit(tmp_path)[0]) == 40
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert git_commit(tmp_path) == ("none", True)
    said = capsys.readouterr().err
    assert said.startswith("warning: the commit is not recorded: git does not read")
    assert f"git config --global --add safe.directory {tmp_path}\n" in said
