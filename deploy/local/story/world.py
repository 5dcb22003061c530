"""What the story stands on: the emulator, the binary, the daemon, and the clients that look at AWS."""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import boto3
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[3]
REGION = "ap-northeast-1"
ACCOUNT = "123456789012"
LOG_BUCKET = "tierd-local-trail"
USERS_TABLE = "user"
LEDGER_TABLE = "file_access"
EVENT_QUEUE = "tierd-restore-events"
REQUEST_QUEUE = "tierd-restore-requests"
COMMAND_TIMEOUT_SECS = 180
DRAIN_TIMEOUT_SECS = 40


class Broken(Exception):
    """The story cannot go on; the text says why."""


def leads_elsewhere(name):
    """Whether an environment variable could have something talk to another AWS than the emulator, or through a proxy."""
    return name.startswith(("AWS_", "TIERD_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy")


def end_with_parent():
    """Runs in the daemon's process before it becomes the daemon: if the story is killed, the daemon is told to end."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


@dataclass
class Ran:
    """One command of tierd that has ended."""

    code: int
    stdout: str
    stderr: str

    def report(self):
        """The one JSON object that `--json` prints."""
        try:
            found = json.loads(self.stdout)
        except ValueError as problem:
            tail = "\n".join(self.stderr.strip().splitlines()[-8:])
            raise Broken(
                f"exit {self.code}, and no JSON on stdout ({problem}): {self.stdout[:300]!r}\n{tail}"
            ) from problem
        if not isinstance(found, dict):
            raise Broken(f"--json printed {type(found).__name__}, not one object")
        return found


class World:
    def __init__(self):
        self.target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve()
        self.directory = self.target / "local"
        self.log = self.directory / "tierd.log"
        self.binary = None
        self.endpoint = None
        self.emulator = None
        self.daemon = None
        self.settings = {}

    # The emulator.

    def start_emulator(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        # In a session of its own, so that Ctrl-C reaches only the story, which then ends things in order. The pipe ends
        # it should the story be killed.
        with open(self.directory / "emulator.log", "w", encoding="utf-8") as log:
            self.emulator = subprocess.Popen(
                [REPOSITORY / "deploy/local/emulator", "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        line = self.emulator.stdout.readline()
        if not line:
            log = (self.directory / "emulator.log").read_text(encoding="utf-8", errors="replace")
            raise Broken(f"the emulator did not start:\n{log[-3000:]}")
        self.endpoint = json.loads(line)["endpoint"]
        # All that a command needs to talk to this emulator and to nothing else: no credentials, profiles, metadata
        # service or proxy of this machine are looked at.
        self.settings = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "TIERD__AWS__ENDPOINT_URL": self.endpoint,
            "TIERD__TELEMETRY__HEARTBEAT_FILE": str(self.directory / "heartbeat"),
        }

    def client(self, service):
        # boto3 reads the environment as tierd does, profiles first.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ |= {name: value for name, value in self.settings.items() if name.startswith("AWS_")}
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 3}),
        )

    def restores_take(self, seconds):
        """How long an archived object takes to come back: hours on S3, seconds here."""
        body = {"model_name": "s3::keyrestore", "transition": {"progression": "time", "seconds": seconds}}
        request = Request(
            f"{self.endpoint}/moto-api/state-manager/set-transition",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with build_opener(ProxyHandler({})).open(request, timeout=30):
            pass

    # The binary.

    def build(self):
        command = ["cargo", "build", "--release", "--locked", "--bin", "tierd"]
        try:
            code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
        except FileNotFoundError as problem:
            raise Broken("there is no cargo on the PATH; tierd is built with Rust (https://rustup.rs)") from problem
        if code != 0:
            raise Broken(f"`{' '.join(command)}` ended with {code}")
        self.binary = self.target / "release" / "tierd"

    def environment(self, **extra):
        """What a command of tierd gets: this environment without what could lead it elsewhere."""
        kept = {name: value for name, value in os.environ.items() if not leads_elsewhere(name)}
        return {**kept, **self.settings, **extra}

    def command(self, *arguments):
        return [str(self.binary), "--config", "config/local.toml", *arguments]

    def tierd(self, *arguments, **extra):
        """Runs one command to its end. What it exits with is for the caller to judge."""
        try:
            ended = subprocess.run(
                self.command(*arguments),
                cwd=REPOSITORY,
                env=self.environment(**extra),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_TIMEOUT_SECS,
                check=False,
            )
        except subprocess.TimeoutExpired as problem:
            raise Broken(f"`tierd {' '.join(arguments)}` did not end in {COMMAND_TIMEOUT_SECS} s") from problem
        return Ran(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))

    # The daemon.

    def start_daemon(self):
        with open(self.log, "w", encoding="utf-8") as log:
            self.daemon = subprocess.Popen(
                self.command("run"),
                cwd=REPOSITORY,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def daemon_must_run(self):
        if self.daemon and self.daemon.poll() is not None:
            raise Broken(f"`tierd run` ended with {self.daemon.returncode}; the end of its log:\n{self.log_tail()}")

    def stop_daemon(self):
        """SIGTERM, as every service manager sends it. Returns the exit code, None if it had to be killed."""
        if not self.daemon or self.daemon.poll() is not None:
            return self.daemon.returncode if self.daemon else None
        self.daemon.send_signal(signal.SIGTERM)
        try:
            return self.daemon.wait(DRAIN_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            return None

    def stop_all(self):
        self.stop_daemon()
        if self.emulator:
            self.emulator.stdin.close()
            try:
                self.emulator.wait(5)
            except subprocess.TimeoutExpired:
                self.emulator.kill()

    def log_tail(self, lines=12):
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def exports(self):
        """The settings as a shell takes them."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.settings.items()]
