"""Settings: sources, precedence, faults, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskengine.domain.errors import InvalidRequest
from taskengine.domain.setting import SETTINGS, Setting
from taskengine.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    flags: Mapping[str, Any] | None = None,
    yaml: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from these sources; files are written to the working directory, which is a test's own."""
    config = None
    if yaml is not None:
        config = Path("given.yaml")
        config.write_text(yaml, encoding="utf-8")
    folder = Path("secrets")
    folder.mkdir(exist_ok=True)
    for name, text in (secrets or {}).items():
        (folder / name).write_text(text, encoding="utf-8")
    return load_settings(flags, config, env or {}, secrets=folder)


def faults(**sources: Any) -> list[str]:
    """The messages of the faults that loading these sources gives."""
    with pytest.raises(InvalidRequest) as caught:
        load(**sources)
    return [fault.message for fault in caught.value.faults]


def test_defaults_follow_from_the_data_directory() -> None:
    """Database, workspace and scratch lie in the data directory, the broker is in the process."""
    settings = load({"data_dir": "/srv/engine"})

    assert settings.database_url == "sqlite:////srv/engine/taskengine.db"
    assert settings.broker_url == "memory://"
    assert settings.workspace == "/srv/engine/workspace"
    assert settings.scratch == Path("/srv/engine/scratch")
    assert settings.storages["local"].folder(settings.data_dir) == Path("/srv/engine/storage")
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)


def test_flags_beat_environment_beats_secret_files_beats_yaml_beats_defaults() -> None:
    """Each source wins over those below it."""
    sources: dict[str, Any] = {"yaml": "port: 2"}
    assert load().port == 8080
    assert load(**sources).port == 2
    sources["secrets"] = {"TASKENGINE_PORT": "3\n"}
    assert load(**sources).port == 3
    sources["env"] = {"TASKENGINE_PORT": "4"}
    assert load(**sources).port == 4
    sources["flags"] = {"port": 5}
    assert load(**sources).port == 5


def test_sources_are_merged_setting_by_setting() -> None:
    """A source that sets one member of a group leaves the others to the sources below."""
    settings = load({"concurrency": {"work": 9}}, "log: {level: debug, format: json}", {"LOG_LEVEL": "ERROR"})

    assert (settings.log.level, settings.log.format) == ("error", "json")
    assert settings.slots("work") == 9


def test_flags_that_were_not_given_are_none() -> None:
    """None in the flags leaves a setting alone."""
    assert load({"port": None, "host": None}, env={"PORT": "81"}).port == 81


@pytest.mark.parametrize(
    ("variable", "value", "setting", "expected"),
    [
        ("DATABASE_URL", "postgresql://db/x", "database_url", "postgresql://db/x"),
        ("AMQP_URL", "amqp://mq/", "broker_url", "amqp://mq/"),
        ("PORT", "99", "port", 99),
        ("TASKENGINE_OPEN_JOBS_LIST", "1", "open_jobs_list", True),
        ("TASKENGINE_OUTBOUND_ALLOW", "10.0.0.0/8, fd00::/8", "outbound_allow", ("10.0.0.0/8", "fd00::/8")),
        ("TASKENGINE_OUTBOUND_ALLOW", "", "outbound_allow", ()),
        ("TASKENGINE_WORKFLOWS_DIR", "/a:/b", "workflows_dirs", (Path("/a"), Path("/b"))),
        ("TASKENGINE_CONCURRENCY", '{"transcode": 3}', "concurrency", {"transcode": 3}),
        ("TASKENGINE_CONCURRENCY__TRANSCODE", "3", "concurrency", {"transcode": 3}),
        ("TASKENGINE_DATABASE_URL", "", "broker_url", "memory://"),
    ],
)
def test_the_environment_sets_a_setting(variable: str, value: str, setting: str, expected: object) -> None:
    """Texts of variables become values; an empty one is as good as none, but for a list."""
    found = getattr(load(env={variable: value}), setting)

    assert (tuple(map(str, found)) if setting == "outbound_allow" else found) == expected


def test_our_own_variable_beats_the_general_one() -> None:
    """TASKENGINE_DATABASE_URL wins over DATABASE_URL."""
    env = {"TASKENGINE_DATABASE_URL": "sqlite:////own.db", "DATABASE_URL": "postgresql://general/x"}

    assert load(env=env).database_url == "sqlite:////own.db"


def test_a_variable_names_a_storage_whatever_its_case() -> None:
    """STORAGES__S3 means the published name S3, and STORAGES__MAIN the Main of the file."""
    settings = load(
        yaml="storages: {Main: {kind: local, url: /media}}",
        env={
            "TASKENGINE_STORAGES__S3__KIND": "s3",
            "TASKENGINE_STORAGES__S3__URL": "s3://bucket",
            "TASKENGINE_STORAGES__MAIN__OUTPUT_ROOT__ARCHIVE": "old",
        },
    )

    assert sorted(settings.storages) == ["Main", "S3", "local"]
    assert settings.storages["Main"].output_root == {"output_root": "output", "archive": "old"}


def test_a_variable_may_name_a_file_with_the_secret() -> None:
    """…_FILE is read, without the newline at its end; the variable itself wins over it."""
    Path("key").write_text("s3cret\n", encoding="utf-8")
    env = {"TASKENGINE_BOOTSTRAP_API_KEY_FILE": "key"}

    first = load(env=env).bootstrap_api_key
    second = load(env={**env, "TASKENGINE_BOOTSTRAP_API_KEY": "other"}).bootstrap_api_key

    assert first is not None
    assert second is not None
    assert (first.get_secret_value(), second.get_secret_value()) == ("s3cret", "other")


def test_secret_files_of_others_are_left_alone() -> None:
    """Only files that are named like a variable are read."""
    assert load(secrets={"tls.key": "x", "taskengine_bootstrap_client": "boss"}).bootstrap_client == "boss"


def test_the_yaml_file_is_the_flags_then_the_environments_then_the_one_that_lies_here() -> None:
    """--config, else TASKENGINE_CONFIG, else ./taskengine.yaml."""
    Path("taskengine.yaml").write_text("port: 1", encoding="utf-8")
    Path("named.yaml").write_text("port: 2", encoding="utf-8")
    named = {"TASKENGINE_CONFIG": "named.yaml"}

    assert load().port == 1
    assert load(env=named).port == 2
    assert load(yaml="port: 3", env=named).port == 3


def test_all_faults_are_told_at_once_each_with_its_source() -> None:
    """Unknown names and wrong values of every source come in one error."""
    found = faults(
        flags={"port": 70000},
        yaml="log: {colour: true}\nheartbeat_s: soon",
        env={"TASKENGINE_DATABASE_URL": "mysql://u:secret@db", "TASKENGINE_DATADIR": "x"},
    )

    assert sorted(found) == [
        "--port: must be less than or equal to 65535",
        "TASKENGINE_DATABASE_URL: must be sqlite:///path or postgresql://…",
        "TASKENGINE_DATADIR: there is no such setting; did you mean 'TASKENGINE_DATA_DIR'?",
        "given.yaml: heartbeat_s: must be a valid number, unable to parse string as a number",
        "given.yaml: log.colour: there is no such setting; did you mean 'color'?",
    ]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_what_is_changed_while_the_engine_runs_is_configured_by_the_same_rule(setting: Setting) -> None:
    """The least, the most and what lies between, of those that need not be whole."""
    for value in {setting.low, setting.high, setting.default if setting.whole else setting.default + 0.5}:
        engine = {"max_jobs": setting.high, setting.name: value}
        assert getattr(load(yaml=json.dumps({"engine": engine})).engine, setting.name) == setting.parse(value)
    for value in (setting.low - 1, setting.high + 1):
        assert faults(yaml=json.dumps({"engine": {setting.name: value}}))


def test_a_fault_has_the_pointer_of_its_setting() -> None:
    """Programs find the setting by a JSON pointer."""
    with pytest.raises(InvalidRequest) as caught:
        load(yaml="callbacks: {timeout_s: -1}")

    assert [fault.path for fault in caught.value.faults] == ["/callbacks/timeout_s"]


@pytest.mark.parametrize(
    ("yaml", "fault"),
    [
        ("port: 1\nport: 2", "given.yaml: line 2: port is there twice"),
        ("- port", "given.yaml: must be a mapping of settings"),
        ("port: [", "given.yaml: line 1: expected the node content, but found '<stream end>'"),
        ("port: true", "given.yaml: port: must be a number, is true or false"),
        (
            "bootstrap_client: Demo",
            "given.yaml: bootstrap_client: must begin with a small letter and have small letters, digits, _ and - (64 at most)",
        ),
        ("log: debug", "given.yaml: log: must be a mapping"),
        ("storages: {S3: {kind: s3}}", "storages.S3.url: a storage of kind s3 needs one"),
        ("default_storage: nowhere", "given.yaml: default_storage: must be one of the storages (local)"),
        ("engine: {retry_delay: 86401}", "given.yaml: engine.retry_delay: must be less than or equal to 86400"),
        (
            "engine: {max_jobs: 2.5}",
            "given.yaml: engine.max_jobs: must be a valid integer, got a number with a fractional part",
        ),
        ("engine: {priority_slots: 3}", "given.yaml: engine.priority_slots: must be at most max_jobs (2)"),
        ("outbound_allow: [10.0.0.1/8]", "given.yaml: outbound_allow: value is not a valid IPv4 or IPv6 network"),
    ],
)
def test_a_wrong_file_is_refused(yaml: str, fault: str) -> None:
    """Each fault names the setting and what is wrong with it."""
    assert faults(yaml=yaml) == [fault]


def test_a_file_that_is_not_there_is_a_fault() -> None:
    """A file that was named must exist, whoever named it."""
    found = faults(env={"TASKENGINE_CONFIG": "no.yaml", "TASKENGINE_BROKER_URL_FILE": "no.secret"})

    assert found == [
        "no.yaml: cannot be read: No such file or directory",
        "TASKENGINE_BROKER_URL_FILE: no.secret cannot be read: No such file or directory",
    ]


def test_what_kubernetes_adds_is_ignored() -> None:
    """A service called taskengine gives variables that look like settings."""
    env = {
        "TASKENGINE_PORT": "tcp://10.3.0.1:8080",
        "TASKENGINE_PORT_8080_TCP": "tcp://10.3.0.1:8080",
        "TASKENGINE_PORT_8080_TCP_ADDR": "10.3.0.1",
        "TASKENGINE_SERVICE_HOST": "10.3.0.1",
        "TASKENGINE_SERVICE_PORT_HTTP": "8080",
        "TASKENGINE_API_PORT": "tcp://10.3.0.2:80",
    }

    assert load(env=env).port == 8080


def test_variables_of_the_command_line_are_known() -> None:
    """What the client's commands read is no setting and no fault."""
    load(env={"TASKENGINE_URL": "http://x", "TASKENGINE_CLIENT": "c", "TASKENGINE_API_KEY": "k"})


def test_no_color_turns_colours_off() -> None:
    """NO_COLOR is honoured where it is not empty."""
    assert load(env={"NO_COLOR": "1"}).log.color is False
    assert load(env={"NO_COLOR": ""}).log.color is None


def test_loopback_may_be_reached_by_default_only_from_loopback() -> None:
    """An engine that others can reach does not call its own machine unless it is told so."""
    assert load().outbound_allow == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert load({"host": "localhost"}).outbound_allow == load().outbound_allow
    assert load({"host": "0.0.0.0"}).outbound_allow == ()


def test_slots_are_the_queues_own_then_the_default_then_built_in() -> None:
    """A queue that is not named has the slots of `default`, else what suits its kind."""
    settings = load(yaml="concurrency: {transcode: 3, default: 7}")

    assert (settings.slots("transcode"), settings.slots("work"), settings.slots("other")) == (3, 7, 7)
    assert load().slots("transcode") >= 1
    assert (load().slots("package"), load().slots("work"), load().slots("other")) == (2, 4, 2)


def test_the_embedded_store_and_broker_are_taken_whatever_is_set() -> None:
    """`run` works on the data directory alone."""
    env = {"DATABASE_URL": "postgresql://db/x", "TASKENGINE_BROKER_URL": "amqp://mq/"}
    settings = load_settings({"data_dir": "/d"}, None, env, secrets=Path("none"), embedded=True)

    assert (settings.database_url, settings.broker_url) == ("sqlite:////d/taskengine.db", "memory://")


def test_no_secret_is_shown() -> None:
    """Neither the redacted tree nor the settings' text has a key or a password."""
    settings = load(
        env={
            "TASKENGINE_BOOTSTRAP_API_KEY": "hidden-1",
            "DATABASE_URL": "postgresql://user:hidden-2@db/x",
            "AMQP_URL": "amqp://user:hidden-3@mq/",
            "TASKENGINE_STORAGES__S3": '{"kind": "s3", "url": "s3://b", "credentials": {"secret_access_key": "hidden-4"}}',
        }
    )

    assert "hidden" not in f"{settings.redacted()} {settings!r} {settings} {settings.storages!r}"
    assert settings.redacted()["database_url"] == "postgresql://user:***@db/x"


def test_a_fault_shows_no_value() -> None:
    """What is wrong may be a secret in the wrong place."""
    assert "hidden" not in str(faults(env={"TASKENGINE_PORT": "hidden", "TASKENGINE_LOG__LEVEL": "hidden"}))


@pytest.mark.parametrize("name", ["port", "log", "storages"])
def test_settings_cannot_be_changed(name: str) -> None:
    """The tree is frozen."""
    with pytest.raises(ValidationError):
        setattr(load(), name, None)


def test_the_sample_file_is_the_defaults() -> None:
    """config/taskengine.yaml loads, and gives what no file at all gives."""
    sample = (ROOT / "config/taskengine.yaml").read_text(encoding="utf-8")

    assert load(yaml=sample).redacted() == load().redacted()


def test_the_sample_file_shows_every_setting() -> None:
    """Each name of the tree is in the sample file."""
    from taskengine.settings.names import walk

    sample = (ROOT / "config/taskengine.yaml").read_text(encoding="utf-8")

    assert [path for path, _ in walk(Settings) if f"{path[-1]}:" not in sample] == []


def test_every_setting_says_what_it_is() -> None:
    """No setting is without its description."""
    from taskengine.settings.names import walk

    assert [path for path, field in walk(Settings) if not field.description] == []
