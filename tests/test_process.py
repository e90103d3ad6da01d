"""The process around a run: signals, streams that cannot be written, memory, other systems, no network."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_resume import ROOT, generate, logged, run_until, start
from tiny import PROMPT

import scoredistill
from scoredistill.cli import main
from scoredistill.cli.output import Output
from scoredistill.cli.signals import APART, Signals
from scoredistill.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("toy_presets")

IMAGE = ("--steps", "1", "--scene.count", "1", "--resolution", "16", "--method.steps-per-unit", "2")
TINY = ROOT / "tests" / "tiny.py"
PACKAGE = ROOT / "scoredistill"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def image(prior: str, out: Path) -> list[str]:
    return ["image", PROMPT, "--prior", prior, "--out", str(out), *IMAGE]


@pytest.fixture(scope="module")
def finished(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished 3D run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main([*generate(prior, folder)[:-2], "--steps", "1"]) == 0
    return folder


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with the tests' modules."""
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": places} | options.pop("env", {})
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


# Ctrl-C before the first step

INTERRUPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Watch:
    def find_spec(self, name, *_):
        if name == os.environ["MOMENT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("entry", ["module", "script"])
@pytest.mark.parametrize(
    "moment", ["scoredistill.kernels", "torch", "torch.nn", "scoredistill.cli", "tyro", "scoredistill.cli.main"]
)
def test_ctrl_c_during_the_imports_is_one_line(tmp_path: Path, entry: str, moment: str) -> None:
    """For `python -m scoredistill` and for the installed script, whatever is being imported."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    script = tmp_path / "scoredistill"
    script.write_text("import sys\nfrom scoredistill.cli import main\nsys.exit(main())\n")
    command = ["-m", "scoredistill"] if entry == "module" else [str(script)]
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *command, "generate", PROMPT, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": places, "MOMENT": moment},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "scoredistill: error: interrupted\n")
    assert not (tmp_path / "run").exists()


def test_an_import_by_another_program_leaves_its_ctrl_c_alone() -> None:
    code = "import signal, scoredistill; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert python(f"import signal; signal.signal(2, signal.default_int_handler); {code}").returncode == 0


# Signals during a run


def test_the_first_signal_stops_after_the_step_and_a_later_one_at_once() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` does
        assert signals.stop_requested() and signals.ended and signals.code == 143
        time.sleep(APART + 0.05)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.code == 129


def test_an_ignored_signal_stays_ignored() -> None:
    """As SIGHUP does for a run that is started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.stop_requested()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_loses_no_step(prior: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, message = run_until(generate(prior, folder), folder, 5, signal.SIGHUP)
    assert (code, message.count("\n")) == (129, 1)
    state = RunFolder.open(folder).load()
    assert state is not None
    assert state["index"] == logged(folder) - 1


def filming(prior: str, folder: Path, frames: int) -> subprocess.Popen[str]:
    """A run whose film is being encoded; the leader of a group of processes, as a terminal makes them."""
    film = ["--output.turntable-frames", str(frames), "--output.turntable-resolution", "32"]
    command = [sys.executable, str(TINY), *generate(prior, folder)[:-2], "--steps", "1", *film]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    while process.poll() is None and not is_encoding(process.pid):
        time.sleep(0.005)
    return process


def is_encoding(pid: int) -> bool:
    """Whether the encoder is a child of a process; its check of itself comes earlier."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    with contextlib.suppress(FileNotFoundError):
        return any(b"rawvideo" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)
    return False


@LINUX
def test_ctrl_c_while_results_are_written_waits_for_them(prior: str, tmp_path: Path) -> None:
    """The terminal sends it to the whole group of processes, but the encoder of the film is not in it."""
    import imageio_ffmpeg

    folder = tmp_path / "run"
    process = filming(prior, folder, 50)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "the results are written first" in out
    assert (folder / "mesh.glb").exists() and (folder / "index.html").exists()
    assert imageio_ffmpeg.count_frames_and_secs(str(folder / "turntable.mp4"))[0] == 50


@LINUX
def test_the_second_signal_stops_at_once_with_nothing_half_written(prior: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = filming(prior, folder, 1000)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    while "written first" not in process.stdout.readline():
        pass
    time.sleep(APART + 0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    again = f"go on with: scoredistill resume {folder}"
    assert (process.returncode, errors) == (143, f"scoredistill: error: stopped at once; {again}\n")
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    assert not (folder / "index.html").exists()
    assert main(["resume", str(folder), "--output.turntable-frames", "2"]) == 0
    assert (folder / "index.html").exists()


# Output that cannot be written


@pytest.mark.parametrize("ending", ["| head -n 1", ">&- 2>&-"])
def test_a_run_goes_on_without_its_output(prior: str, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "run"
    words = " ".join(f"'{word}'" for word in (sys.executable, str(TINY), *image(prior, folder)))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = ["bash", "-o", "pipefail", "-c", f"{words} {ending}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "index.html").exists()
    assert RunFolder.open(folder).log()[-1]["step"] == 0


def break_output(patch: pytest.MonkeyPatch, kind: str) -> None:
    """Standard output on a full disk, in a pipe that nobody reads, closed, or missing."""
    stream = None
    if kind == "full":
        stream = open("/dev/full", "w")  # noqa: SIM115 (the test's standard output)
    elif kind == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
    elif kind == "closed":
        stream = io.StringIO()
        stream.close()
    patch.setattr(sys, "stdout", stream)


@pytest.mark.parametrize("kind", ["full", "closed"])
def test_commands_with_results_need_no_output(
    monkeypatch: pytest.MonkeyPatch, kind: str, finished: Path, prior: str, tmp_path: Path
) -> None:
    sample, film, mesh, table = (tmp_path / name for name in ("sample.png", "film.mp4", "mesh.glb", "table.json"))
    folder = str(finished)
    for command, result in (
        (image(prior, tmp_path / "image"), tmp_path / "image" / "index.html"),
        (["sample", PROMPT, "--prior", prior, "--count", "1", "--steps", "1", "--out", str(sample)], sample),
        (["render", folder, "--frames", "1", "--resolution", "16", "--out", str(film)], film),
        (["export", folder, "--resolution", "24", "--out", str(mesh)], mesh),
        (["evaluate", folder, "--out", str(table)], table),
        (["resume", folder], finished / "index.html"),
    ):
        with monkeypatch.context() as patch:
            break_output(patch, kind)
            code = main(command)
        assert code == 0, command
        assert result.exists()


SWEEP = ["sweep", "--out", "x", "--set", "prompt=a red car", "scene=image", "steps=1", "--dry-run"]


@pytest.mark.parametrize(
    ("kind", "command"),
    [("full", ["priors"]), ("full", SWEEP), *((kind, ["priors"]) for kind in ("unread", "closed", "missing"))],
)
def test_commands_that_only_print_fail_on_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, kind: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        break_output(patch, kind)
        found = main(command), capsys.readouterr().err
    expected = (1, "scoredistill: error: cannot print the result (No space left on device)\n")
    assert found == (expected if kind == "full" else (0, ""))


def test_control_characters_are_never_printed_raw(
    capsys: pytest.CaptureFixture[str], prior: str, tmp_path: Path
) -> None:
    out = tmp_path / "a\x1b]0;title\x07b\x9b2J"
    assert main(image(prior, out)) == 0
    assert main(["generate", "a red \x1b[31mcar\x1b[0m"]) == 2
    assert main(["evaluate", str(out)]) == 0
    assert main(["render", str(out)]) == 2
    shown = capsys.readouterr()
    assert "a\\x1b]0;title\\x07b\\x9b2J" in shown.out and "\\x1b" in shown.err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.out + shown.err)


def test_output_in_a_poor_encoding_is_escaped() -> None:
    target = io.BytesIO()
    output = Output(io.TextIOWrapper(target, encoding="ascii"))
    output.write("汽车 \udcff")
    output.flush()
    assert target.getvalue() == b"\\u6c7d\\u8f66 \\udcff"
    assert output.lost is None


# Memory

GREEDY = """
import resource, torch
from scoredistill import Distilled

def greedy(query, x):
    if query.progress > 0.5:  # from here on the process may have 64 MB more
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        torch.zeros(256 << 20, dtype=torch.uint8)
    return Distilled(torch.zeros_like(x))
"""


@LINUX
def test_a_run_without_memory_ends_in_one_line_and_can_be_resumed(prior: str, tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine.py", tmp_path / "run"
    mine.write_text(GREEDY)
    words = ["--steps", "4", "--scene.count", "1", "--resolution", "16", "--training.save-every", "1"]
    command = ["image", PROMPT, "--prior", prior, "--out", str(folder), "--method", f"{mine}:greedy", *words]
    process = start(command)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors.count("\n")) == (1, 1)
    assert "out of memory, 268435456 bytes more were asked for: --preset low-vram" in errors
    assert f"{folder} holds the checkpoint of step 2" in errors
    mine.write_text(GREEDY.replace("> 0.5", "> 2"))
    assert main(["resume", str(folder), "--accept-changes"]) == 0


# Other systems

POSIX_MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
POSIX_NAMES = {
    "signal": {"SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGTSTP"},
    "os": {"O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "getuid", "geteuid", "mkfifo", "killpg", "setsid"}
    | {"uname", "sysconf", "getloadavg", "sched_getaffinity", "fchmod", "chown", "statvfs", "wait"},
}


def guarded(tree: ast.AST) -> set[ast.AST]:
    """The nodes of statements that only run where an import succeeds: those of a `try` with `except ImportError`."""
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    safe = [
        node for node in tries if any("ImportError" in ast.unparse(handler.type or node) for handler in node.handlers)
    ]
    return {inner for node in safe for part in (*node.body, *node.orelse) for inner in ast.walk(part)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_of_posix_alone_is_needed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    safe = guarded(tree)
    for node in ast.walk(tree):
        if node in safe:
            continue
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & POSIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in POSIX_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.attr not in POSIX_NAMES.get(node.value.id, set()), f"{node.value.id}.{node.attr}"


WINDOWS = """
import os, signal, sys, types
import torch
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
locks = []
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *lock: locks.append(lock))
del signal.SIGHUP, os.O_NOFOLLOW, os.O_DIRECTORY
import tiny
from scoredistill.cli import main
tiny.PRESETS["fast"] = tiny.fast
for command in (sys.argv[1:], ["resume", sys.argv[sys.argv.index("--out") + 1]], ["doctor"]):
    assert main(command) == 0, command
assert locks
"""


def test_a_system_without_the_modules_of_posix(prior: str, tmp_path: Path) -> None:
    """Windows as far as it can be simulated: without resource, fcntl, SIGHUP and the flags of open."""
    done = python(WINDOWS, *image(prior, tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "index.html").exists()
    assert " MB" not in done.stdout.partition("\n")[0]  # of memory, which is unknown there


# Code and the network

MINE = """
import torch
from scoredistill import Distilled

def mine(query, x):
    return Distilled(torch.zeros_like(x))
"""
NO_SOCKET = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(refuse)
import tiny
from scoredistill.cli import main
from scoredistill.runs import renders
tiny.PRESETS["fast"] = tiny.fast
renders.RESOLUTION = 32
folder = sys.argv[1]
small = ["--steps", "1", "--batch", "4", "--resolution", "16", "--method.steps-per-unit", "2"]
for command in (
    ["generate", "a purple snowman", "--out", folder, *small],
    ["resume", folder],
    ["render", folder, "--frames", "1", "--resolution", "16"],
    ["export", folder],
    ["evaluate", folder],
    ["sample", "a purple snowman", "--count", "1", "--steps", "1", "--out", folder + ".png"],
    ["methods"],
    ["priors"],
    ["doctor"],
):
    assert main(command) == 0, command
"""


def test_no_socket_is_opened(tmp_path: Path) -> None:
    """The command of `make demo`, at toy size with the embedded prior, and all those that work on its folder."""
    done = python(NO_SOCKET, str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "mesh.glb").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_run_folder_brings_no_code(
    capsys: pytest.CaptureFixture[str], prior: str, tmp_path: Path, linked: bool
) -> None:
    """No command executes a file inside the folder that it is called with, whatever its config.yaml names."""
    own, folder, proof = tmp_path / "mine.py", tmp_path / "run", tmp_path / "executed"
    own.write_text(MINE)
    assert main(["image", PROMPT, "--prior", prior, "--out", str(folder), "--method", f"{own}:mine", *IMAGE[:-2]]) == 0
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n{MINE}")
    evil = tmp_path / "link.py" if linked else folder / "evil.py"
    if linked:
        evil.symlink_to(folder / "evil.py")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(own), str(evil)))
    again = ["generate", "--config", str(config), "--out", str(tmp_path / "again")]
    for command in (*([name, str(folder)] for name in ("resume", "render", "export", "evaluate")), again):
        assert main(command) == 2
        assert "lies inside the run folder" in capsys.readouterr().err
    assert not proof.exists()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"scoredistill {scoredistill.__version__}\n"
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for name in ("scoredistill", "torch", "diffusers", "transformers"):
        assert re.search(rf"^ok      {name}: \d+\.\d+", shown, re.MULTILINE)
    assert re.search(r"warp's \(\d+\.\d+.*\)|torch references", shown)
