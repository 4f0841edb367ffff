"""`make report`: where the file goes, what it says, what cannot be written."""

from pathlib import Path

from dagster_project.commands.report import main
from dagster_project.steps.report_content import REPORT
from tests.dagster_project.commands.conftest import Told
from tests.support.profiles import SMALLEST, write_profile


def test_the_report_of_a_profile_lies_in_its_warehouse_or_where_it_is_asked_for(told: Told, tmp_path: Path) -> None:
    default = told.profile.warehouse / REPORT
    for arguments, file in ([], default), (["--out", str(tmp_path / "new" / "r.html")], tmp_path / "new" / "r.html"):
        assert main(["--profile", str(told.profile.file), *arguments]) == 0
        said = told.capture.readouterr().out
        assert said == f"{file}  4 pairs, 4 with their texts, {file.stat().st_size:,} bytes\n"
    assert default.read_bytes() == file.read_bytes()


def test_what_cannot_be_read_or_written_is_said(told: Told, tmp_path: Path) -> None:
    assert main(["--profile", str(told.profile.file), "--out", str(tmp_path)]) == 1
    assert "cannot be written" in told.capture.readouterr().err
    nowhere = write_profile(tmp_path / "other", SMALLEST)
    assert main(["--profile", str(nowhere)]) == 1
    assert "`make run` creates it" in told.capture.readouterr().err
