"""requirements/install.py on a tiny project: it is killed, hurried, contradicted and must end with a sound .venv."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from requirements.install import needed_by_profile
from tests.conftest import PROJECT
from tests.requirements.tiny_wheels import write_project, write_wheel
from tests.support.soak import seeds

pytestmark = pytest.mark.slow

MODULES = "import small, slow.part_999, torch.part_999, tiny_wheels; print(small.version)"


class Project:
    """The tiny project in a folder, and what people do to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = write_project(root)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROJECT / "requirements" / "install.py"), "--variant=cpu", f"--root={self.root}"]
        return subprocess.Popen(
            [*command, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def set_up(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
        return said

    def python(self, code: str) -> str:
        command = [str(self.root / ".venv" / "bin" / "python"), "-I", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        return (done.stdout + done.stderr).strip()

    def pip(self, *arguments: str) -> None:
        command = [str(self.root / ".venv" / "bin" / "python"), "-m", "pip", *arguments]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    @property
    def site_packages(self) -> Path:
        return self.root / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

    def wait_for(self, part: str) -> None:
        """Until that file or folder of site-packages is there."""
        deadline = time.monotonic() + 60
        while not (self.site_packages / part).exists():
            assert time.monotonic() < deadline, f"{part} never came"
            time.sleep(0.001)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Set up once; each test leaves it, or finds it, in need of mending."""
    project = Project(tmp_path_factory.mktemp("tiny") / "project")
    assert "Environment ready" in project.set_up()
    return project


@pytest.mark.kill
def test_it_mends_itself_wherever_it_was_killed(project: Project, tmp_path: Path) -> None:
    moved = Project(tmp_path / "moved")  # its scripts name the folder it came from
    shutil.copytree(project.root / ".venv", moved.root / ".venv", symlinks=True)
    for part in ("pip", "torch", "torch-2.13.0+tiny.dist-info", "slow", "slow-1.0.dist-info/RECORD"):
        process = moved.start()
        moved.wait_for(f"../../../bin/python3.{sys.version_info.minor}")
        moved.wait_for(part)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    moved.set_up()
    assert moved.python(MODULES) == "1"
    assert str(moved.root) in (moved.root / ".venv" / "bin" / "pip").read_text()
    assert moved.set_up() == ""


@pytest.mark.kill
@pytest.mark.parametrize("seed", seeds(short=0, long=30))
def test_it_mends_itself_whenever_it_was_killed(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    shutil.rmtree(project.site_packages / chance.choice(("pip", "torch", "slow")), ignore_errors=True)
    for _ in range(chance.randint(1, 4)):
        process = project.start()
        time.sleep(chance.uniform(0, 6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    project.set_up()
    assert project.python(MODULES) == "1"


@pytest.mark.kill
def test_an_interrupted_set_up_says_so_and_goes_on(project: Project) -> None:
    project.pip("uninstall", "-y", "slow")
    process = project.start()
    project.wait_for("slow")
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[0].endswith("Interrupted: the same command goes on from here.\n")
    project.set_up()
    assert project.python(MODULES) == "1"
    assert not list((project.root / ".venv").rglob("~*"))


@pytest.mark.kill
def test_the_pip_that_a_killed_set_up_leaves_behind_is_waited_for(project: Project) -> None:
    project.pip("uninstall", "-y", "slow")
    with project.start() as first:
        project.wait_for("slow")
        first.kill()
    assert "Waiting for another set-up" in project.set_up()
    assert project.python(MODULES) == "1"


def test_two_at_once_wait_for_each_other(project: Project) -> None:
    project.pip("uninstall", "-y", "slow")
    both = [project.start(), project.start()]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.count("Setting up") for text in said) == [0, 1]


def test_what_is_sound_is_left_alone(project: Project) -> None:
    project.set_up()
    record = project.root / ".venv" / "installed.json"
    before = record.stat().st_mtime_ns
    assert project.set_up() == ""
    assert record.stat().st_mtime_ns == before


def test_a_removed_folder_and_another_version_are_noticed(project: Project) -> None:
    shutil.rmtree(project.site_packages / "slow")
    project.pip("install", "small==2.0")
    project.set_up()
    assert project.python(MODULES) == "1"


def test_half_a_file_is_noticed_once_something_else_changed(project: Project) -> None:
    (project.site_packages / "small" / "__init__.py").write_text("")
    (project.root / ".venv" / "~in").mkdir()
    (project.site_packages / "~orch").mkdir()
    project.set_up()
    assert project.python(MODULES) == "1"


def test_what_people_add_is_theirs(project: Project) -> None:
    project.pip("install", "other")
    assert project.set_up() == ""
    assert project.python("import other; print(other.__name__)") == "other"


def test_a_group_stays_and_is_kept_up_to_date(project: Project) -> None:
    project.set_up("ray")
    lock = project.root / "requirements" / "ray.lock"
    lock.write_text(write_wheel(project.root / "wheels", "extra", "1.1", {"extra.py": "version = 1.1"}))
    project.set_up()
    assert project.python("import extra; print(extra.version)") == "1.1"


def test_an_unknown_group_is_told(project: Project) -> None:
    assert (
        project.start("rya").communicate()[0] == "rya: no such group; there are vllm, evaluation, ray, team, checks.\n"
    )


def test_a_wheel_with_another_hash_is_refused(project: Project) -> None:
    lock = project.root / "requirements" / "core.lock"
    right = lock.read_text()
    lock.write_text(right.replace(right[-65:-60], "00000"))
    project.pip("uninstall", "-y", "small")
    process = project.start()
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, "DO NOT MATCH THE HASHES" in said, "failed: mend the cause" in said) == (1, True, True)
    lock.write_text(right)
    project.set_up()
    assert project.python(MODULES) == "1"


def test_only_torch_may_lack_a_hash(project: Project) -> None:
    lock = project.root / "requirements" / "checks.lock"
    lock.write_text("small==1.0\n")
    process = project.start("checks")
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, said.splitlines()[-1]) == (
        1,
        "requirements/checks.lock: small has no hash; requirements/lock.py adds it.",
    )


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("teachers:\n  local:\n    engine: vllm\n    model: m\n", {"vllm"}),
        ("teachers: {local: {model: m, engine: 'vllm'}}", {"vllm"}),
        ('{"teachers": {"local": {"engine": "vllm"}}}', {"vllm"}),
        ("# engine: vllm\nteachers: {local: {engine: openai}}", set()),
        ("teachers: {local: {engine: vllm2}}  # engine: vllm", set()),
        ("lake:\n  catalog: postgres:dbname=lake\n", {"team"}),
        ("lake: {catalog: 'postgres:dbname=lake'}\nteachers: {local: {engine: vllm}}", {"team", "vllm"}),
        ("# lake: {catalog: postgres:dbname=lake}\nsources: [{name: catalog, path: postgres}]", set()),
        ("executor: ray\nteachers: {local: {engine: vllm}}", {"ray", "vllm"}),
        ('{"scoring": {"actors": 2}}', {"ray"}),
        ("scoring: {actors: auto}", {"ray"}),
        ("training: {processes: 16, machines: 2}", {"ray"}),
        ("training:\n  machines: 10\n", {"ray"}),
        ("training: {processes: 16, machines: 1}", set()),
        ("# executor: ray\nexecutor: multiprocess\nray: {address: auto}\nscoring: {actors: null}", set()),
    ],
)
def test_a_profile_says_what_it_needs(
    text: str, needed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(text)
    for name in ("mine", str(tmp_path / "profiles" / "mine.yaml")):
        monkeypatch.setenv("REFLECTION_PROFILE", name)
        assert needed_by_profile(tmp_path) == needed
    monkeypatch.setenv("REFLECTION_PROFILE", "absent")
    assert needed_by_profile(tmp_path) == set()
